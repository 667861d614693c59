#![no_main]

native_websocket_service_fuzz::target!(msgpack);
