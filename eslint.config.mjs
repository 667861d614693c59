import js from '@eslint/js';
import globals from 'globals';

export default [
  { ignores: ['binding.js', 'client-dist/', 'dist/', '**/target/', '**/node_modules/', 'coverage/', 'bench/results*.json'] },
  js.configs.recommended,
  {
    languageOptions: { ecmaVersion: 2024, globals: globals.node },
    rules: {
      eqeqeq: 'error',
      'no-var': 'error',
      'prefer-const': 'error',
      'no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
    },
  },
  { files: ['**/*.js'], languageOptions: { sourceType: 'commonjs' } },
  { files: ['__test__/**'], languageOptions: { globals: globals.jest } },
  {
    files: ['examples/chat/public/**'],
    languageOptions: { sourceType: 'script', globals: { ...globals.browser, io: 'readonly' } },
  },
];
