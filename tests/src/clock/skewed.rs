//! A clock that is wrong: loaded before the C library, it answers the time of day some seconds off. Built by itself, by `clock.rs`.

#![allow(unsafe_code, reason = "it takes the place of a function of the C library")]

use std::{
    env,
    ffi::{c_int, c_long},
    fs,
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
    static SECONDS: OnceLock<i64> = OnceLock::new();
    static FILE: OnceLock<Option<String>> = OnceLock::new();
    let failed = unsafe { syscall(CLOCK_GETTIME, clock, time) } != 0;
    if !failed && clock == REALTIME {
        let seconds = || env::var("CLOCK_OFF_BY_SECONDS").ok()?.parse().ok();
        // What the file says counts at once, so that a clock can be changed under a process that runs.
        let file = FILE.get_or_init(|| env::var("CLOCK_OFF_BY_FILE").ok());
        let said = file.as_ref().and_then(|file| fs::read_to_string(file).ok()?.trim().parse::<i64>().ok());
        unsafe { (*time).seconds += said.unwrap_or_else(|| *SECONDS.get_or_init(|| seconds().unwrap_or(0))) };
    }
    if failed { -1 } else { 0 }
}
