//! The trust password: stored as a slow salted hash, compared without telling how close a guess was.

use data_encoding::HEXLOWER_PERMISSIVE;

/// Bytes of the salt, which come first.
const SALT_BYTES: usize = 32;
/// Bytes of the hash.
const HASH_BYTES: usize = 64;
/// Parameters of scrypt (RFC 7914) that LXD uses: cost 2^14, blocks of 8, no parallelism; 16 MB and some 50 ms.
const LOG_N: u8 = 14;
const R: u32 = 8;
const P: u32 = 1;

/// Salt and hash in hexadecimal digits, as LXD stores them.
pub(crate) fn hash(password: &str) -> String {
    // 244 random bits.
    let salt = [uuid::Uuid::new_v4().into_bytes(), uuid::Uuid::new_v4().into_bytes()].concat();
    let hashed = derive(password, &salt);
    HEXLOWER_PERMISSIVE.encode(&[&salt[..], &hashed].concat())
}

/// Whether `password` is the one that `stored` was made of. Slow on purpose.
pub(super) fn is_match(stored: &str, password: &str) -> bool {
    let Ok(stored) = HEXLOWER_PERMISSIVE.decode(stored.as_bytes()) else { return false };
    let Some((salt, hashed)) = stored.split_at_checked(SALT_BYTES) else { return false };
    let derived = derive(password, salt);
    hashed.len() == HASH_BYTES && hashed.iter().zip(derived).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

fn derive(password: &str, salt: &[u8]) -> [u8; HASH_BYTES] {
    let mut hashed = [0; HASH_BYTES];
    let params = scrypt::Params::new(LOG_N, R, P, HASH_BYTES).expect("these parameters are sound");
    scrypt::scrypt(password.as_bytes(), salt, &params, &mut hashed).expect("scrypt gives this many bytes");
    hashed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_matches_and_no_two_hashes_are_alike() {
        let stored = hash("sesame");
        assert_eq!(stored.len(), 2 * (SALT_BYTES + HASH_BYTES));
        assert!(is_match(&stored, "sesame"));
        for wrong in ["", "Sesame", "sesame ", stored.as_str()] {
            assert!(!is_match(&stored, wrong), "{wrong}");
        }
        assert_ne!(hash("sesame"), stored);
        for damaged in ["", "zz", &stored[..64], &stored[..stored.len() - 2]] {
            assert!(!is_match(damaged, "sesame"), "{damaged}");
        }
    }
}
