// SPDX-License-Identifier: GPL-2.0

//! CRC-32C for the hashes that are part of the format: names, references, data references.
//!
//! This is a portable implementation for short inputs. Checksums of blocks are the caller's
//! business, with whatever the machine does fastest. Where a caller has a faster routine for the
//! hashes too, the functions that hash take it as an argument of type [`Crc32c`].

/// A CRC-32C routine: continues from the first argument over the bytes, neither inverting it
/// before nor the result after (the kernel's `crc32c()`).
pub type Crc32c = fn(u32, &[u8]) -> u32;

/// The polynomial of Castagnoli, bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// Remainders of all bytes, and of bytes that 1 to 7 zero bytes follow.
static TABLES: [[u32; 256]; 8] = tables();

#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation
)] // Evaluated by the compiler; a mistake would not build.
const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0u32; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ POLYNOMIAL
            } else {
                crc >> 1
            };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[table - 1][byte];
            tables[table][byte] = (crc >> 8) ^ tables[0][(crc & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

/// Looks a byte up; the index cannot be out of bounds.
#[inline(always)]
fn look_up(table: &[u32; 256], byte: u8) -> u32 {
    table.get(usize::from(byte)).copied().unwrap_or(0)
}

/// CRC-32C by tables, eight bytes at a time. See [`Crc32c`] for the convention.
pub fn crc32c(seed: u32, data: &[u8]) -> u32 {
    let mut crc = seed;
    let mut chunks = data.chunks_exact(8);
    for chunk in &mut chunks {
        let Ok(chunk) = <[u8; 8]>::try_from(chunk) else {
            continue; // chunks_exact() yields nothing else.
        };
        let [a, b, c, d, e, f, g, h] = chunk;
        let [p, q, r, s] = (crc ^ u32::from_le_bytes([a, b, c, d])).to_le_bytes();
        let [t0, t1, t2, t3, t4, t5, t6, t7] = &TABLES;
        crc = look_up(t7, p)
            ^ look_up(t6, q)
            ^ look_up(t5, r)
            ^ look_up(t4, s)
            ^ look_up(t3, e)
            ^ look_up(t2, f)
            ^ look_up(t1, g)
            ^ look_up(t0, h);
    }
    let [table, ..] = &TABLES;
    for byte in chunks.remainder() {
        let [low, ..] = crc.to_le_bytes();
        crc = (crc >> 8) ^ look_up(table, low ^ byte);
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_value() {
        // The check value of CRC-32C, which inverts on both sides.
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(7, b""), 7);
    }

    #[test]
    fn same_as_reference() {
        let data: std::vec::Vec<u8> = (0..1000u32).map(|i| (i * 7 + i / 13) as u8).collect();
        for len in 0..data.len() {
            let data = &data[..len];
            assert_eq!(!crc32c(!0, data), ::crc32c::crc32c(data));
        }
    }
}
