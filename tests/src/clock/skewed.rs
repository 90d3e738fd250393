//! A clock that is wrong: loaded before the C library, it answers the time of day some seconds off. Built by itself, by `clock.rs`.

#![allow(unsafe_code, reason = "it takes the place of a function of the C library")]

use std::{
    env,
    ffi::{c_int, c_long},
    sync::OnceLock,
};

#[cfg(target_arch = "x86_64")]
const CLOCK_GETTIME: c_long = 228;
#[cfg(target_arch = "aarch64")]
const CLOCK_GETTIME: c_long = 113;

/// The time of day; all other clocks stay as they are.
const REALTIME: c_int = 0;

#[repr(C)]
pub struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int {
    static OFF_BY: OnceLock<i64> = OnceLock::new();
    let failed = unsafe { syscall(CLOCK_GETTIME, clock, time) } != 0;
    if !failed && clock == REALTIME {
        let seconds = || env::var("CLOCK_OFF_BY_SECONDS").ok()?.parse().ok();
        unsafe { (*time).seconds += OFF_BY.get_or_init(|| seconds().unwrap_or(0)) };
    }
    if failed { -1 } else { 0 }
}
