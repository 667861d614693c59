//! The messages of `@socket.io/redis-adapter` 8.3, byte for byte.
