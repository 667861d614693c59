'use strict';

module.exports = {
  testEnvironment: 'node',
  globalSetup: '<rootDir>/scripts/jest-setup.mjs',
  testMatch: ['<rootDir>/__test__/**/*.test.ts'],
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      {
        jsc: { parser: { syntax: 'typescript' }, target: 'es2022' },
        module: { type: 'commonjs' },
        sourceMaps: 'inline',
      },
    ],
  },
  modulePathIgnorePatterns: ['<rootDir>/target/'],
  maxWorkers: 2,
  testTimeout: 20_000,
};
