//! JSON text to MessagePack and back, without recursion.
