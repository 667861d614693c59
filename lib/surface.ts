// Proves to the compiler that what `lib/` is and what `index.d.ts` documents are the same, both ways: a member that one of
// them lacks, adds or types otherwise is an error here. Only public members count, for private ones make classes unlike.

import type * as Documented from '../index.js';
import type { WebSocketServiceError } from './errors.js';
import type { BroadcastOperator, RemoteSocket } from './socketio/operator.js';
import type { NativeSocket } from './socketio/socket.js';
import type { WebSocketService } from './service.js';

/** What a method that returns its own object returns. */
declare const self: unique symbol;
type Self = typeof self;

type IsAny<T> = 0 extends 1 & T ? true : false;
type Returned<R, T> = IsAny<R> extends true ? R : [R] extends [T] ? Self : [T] extends [R] ? Self : R;

/** The public members. A method as a property, so that its parameters are compared strictly. */
type Public<T> = {
  [K in keyof T]: T[K] extends (...args: infer A) => infer R ? (...args: A) => Returned<R, T> : T[K];
};

/** An error unless the first may stand for the second. */
type Fits<Given extends Wanted, Wanted> = Given;

/** Both ways, for the instances of two classes. */
type Same<A extends B, B> = [A, B];

export type Proofs = [
  Fits<Public<WebSocketService>, Public<Documented.WebSocketService>>,
  Fits<Public<Documented.WebSocketService>, Public<WebSocketService>>,
  Same<ConstructorParameters<typeof WebSocketService>, ConstructorParameters<typeof Documented.WebSocketService>>,
  Same<ConstructorParameters<typeof Documented.WebSocketService>, ConstructorParameters<typeof WebSocketService>>,
  Fits<Public<WebSocketServiceError>, Public<Documented.WebSocketServiceError>>,
  Fits<Public<Documented.WebSocketServiceError>, Public<WebSocketServiceError>>,
  Same<ConstructorParameters<typeof WebSocketServiceError>, ConstructorParameters<typeof Documented.WebSocketServiceError>>,
  Same<ConstructorParameters<typeof Documented.WebSocketServiceError>, ConstructorParameters<typeof WebSocketServiceError>>,
  Fits<Public<BroadcastOperator>, Public<Documented.BroadcastOperator>>,
  Fits<Public<Documented.BroadcastOperator>, Public<BroadcastOperator>>,
  Fits<Public<RemoteSocket>, Public<Documented.RemoteSocket>>,
  Fits<Public<Documented.RemoteSocket>, Public<RemoteSocket>>,
  Fits<Public<NativeSocket>, Public<Documented.AuthenticatedSocket>>,
  Fits<Public<Documented.AuthenticatedSocket>, Public<NativeSocket>>,
];
