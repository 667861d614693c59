// Starts the native side of a service.

import type { NativeService as Native } from '../../binding.js';
import { WebSocketServiceError } from '../errors.js';
import { nativeConfig, type ResolvedConfig } from '../options/config.js';
import { NativeService } from './addon.js';

/** `wake` is called when there is something to take, `signs` are as in `events.ts`. What fails is the machine: the options are checked. */
export function startNative(config: ResolvedConfig, wake: () => void, signs: Buffer): Native {
  const text = nativeConfig(config);
  try {
    return new NativeService(text, wake, signs);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new WebSocketServiceError('ERR_NATIVE', `The native side could not be started: ${why}`);
  }
}
