//! What the targets have in common: each hands its input to the entry point of its name in `src/fuzzing.rs`, which panics
//! when a promise is broken, and none may take more memory than any input is worth.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

pub use libfuzzer_sys;

/// Bytes that one input may take at a time; inputs are a few KiB.
const MOST: usize = 16 << 20;

static TAKEN: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counted.
struct Counted;

fn grown(bytes: usize) {
    let taken = TAKEN.fetch_add(bytes, Ordering::Relaxed).wrapping_add(bytes);
    PEAK.fetch_max(taken, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        TAKEN.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// Runs an entry point, and panics when it takes more memory than it may, be it for a moment.
pub fn run(data: &[u8], entry: fn(&[u8])) {
    let before = TAKEN.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    entry(data);
    let taken = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    assert!(taken <= MOST, "{taken} bytes of memory for {} of input", data.len());
}

/// The target of an entry point.
#[macro_export]
macro_rules! target {
    ($entry:ident) => {
        $crate::libfuzzer_sys::fuzz_target!(|data: &[u8]| {
            $crate::run(data, $crate::entries::$entry);
        });
    };
}

pub use native_websocket_service::fuzzing as entries;
