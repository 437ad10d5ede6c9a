//! End-to-end tests: the real `lxd` and `lxc` with real containers, one sandbox a test.
//!
//! There is no code here; each file in `tests/` covers one area and reads as a user's session.
//! The programs are those beside the test in the target directory (`cargo build` makes them), or
//! in `$LXD_BIN_DIR`.
