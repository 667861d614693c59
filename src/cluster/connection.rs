//! The connections to Redis: made again for ever, publishing and subscribing apart.
