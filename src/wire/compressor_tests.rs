//! Every compressor there and back, and what does not inflate to what was announced.

use proptest::prelude::*;

use super::*;

const ALL: [Compressor; 4] = [
    Compressor::Noop,
    Compressor::Snappy,
    Compressor::Zlib,
    Compressor::Zstd,
];

fn deflated(compressor: Compressor, input: &[u8], level: i8) -> Vec<u8> {
    let mut out = vec![0; compressor.most_deflated(input.len())];
    let length = compressor.deflate(input, &mut out, level).unwrap();
    out.truncate(length);
    out
}

fn inflated(compressor: Compressor, input: &[u8], size: usize) -> Result<Vec<u8>, WireError> {
    let mut out = vec![0; size];
    compressor.inflate(input, &mut out).map(|()| out)
}

#[test]
fn names_and_numbers_are_those_of_the_specification() {
    let table = [(1, "snappy"), (2, "zlib"), (3, "zstd")];
    for (id, name) in table {
        let compressor = Compressor::try_from(id).unwrap();
        assert_eq!((compressor as u8, compressor.name()), (id, name));
        assert_eq!(name.parse(), Ok(compressor));
    }
    assert_eq!(Compressor::try_from(0).unwrap(), Compressor::Noop);
    for name in ["noop", "", "Snappy", "gzip"] {
        assert_eq!(name.parse::<Compressor>(), Err(UnknownCompressor), "{name}");
    }
    for id in 4..=255 {
        assert!(matches!(Compressor::try_from(id), Err(WireError::UnknownCompressor(i)) if i == id));
    }
}

#[test]
fn what_holds_more_or_less_than_announced_is_refused_and_written_nowhere_else() {
    let tide = vec![b'~'; 200_000];
    for compressor in ALL {
        let bytes = deflated(compressor, &tide, -1);
        assert_eq!(inflated(compressor, &bytes, tide.len()).unwrap(), tide);
        for size in [0, 1, tide.len() - 1, tide.len() + 1, tide.len() * 2] {
            let error = inflated(compressor, &bytes, size).unwrap_err();
            assert!(
                matches!(error, WireError::Inflate { announced, .. } if announced == size),
                "{compressor:?}, {size}: {error}"
            );
        }
    }
}

#[test]
fn what_is_cut_off_is_refused() {
    let tide: Vec<u8> = (0..5000u32).flat_map(|n| n.to_le_bytes()).collect();
    for compressor in ALL {
        let bytes = deflated(compressor, &tide, -1);
        for length in (0..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
            assert!(
                inflated(compressor, &bytes[..length], tide.len()).is_err(),
                "{compressor:?}, {length} of {} bytes",
                bytes.len()
            );
        }
    }
}

#[test]
fn nothing_inflates_beyond_the_bound_of_its_format() {
    let zeros = vec![0; 40_000_000];
    for compressor in ALL {
        let bytes = deflated(compressor, &zeros, 9);
        assert!(
            compressor.most_inflated(bytes.len()) >= zeros.len(),
            "{compressor:?}"
        );
    }
    assert!(Compressor::Zlib.most_inflated(1000) < 2_000_000);
}

#[test]
fn every_zlib_level_fits_its_bound_and_comes_back() {
    let mut noise = vec![0u8; 300_000];
    fastrand::Rng::with_seed(7).fill(&mut noise);
    for level in -1..=9 {
        let bytes = deflated(Compressor::Zlib, &noise, level);
        assert_eq!(inflated(Compressor::Zlib, &bytes, noise.len()).unwrap(), noise);
    }
    let text = b"tide ".repeat(10_000);
    let sizes = [0, 1, 9].map(|level| deflated(Compressor::Zlib, &text, level).len());
    assert!(sizes[0] > text.len() && sizes[1] < text.len() / 10, "{sizes:?}");
    assert!(sizes[2] <= sizes[1], "{sizes:?}");
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(bytes in prop::collection::vec(any::<u8>(), 0..3000), times in 1usize..40) {
        let input = bytes.repeat(times);
        for compressor in ALL {
            for input in [&bytes, &input] {
                let deflated = deflated(compressor, input, -1);
                prop_assert_eq!(&inflated(compressor, &deflated, input.len()).unwrap(), input);
            }
        }
    }

    #[test]
    fn too_little_room_is_an_answer(bytes in prop::collection::vec(any::<u8>(), 50..500), room in 0usize..40) {
        for compressor in ALL {
            prop_assert_eq!(compressor.deflate(&bytes, &mut vec![0; room.min(bytes.len() / 2)], -1), None);
        }
    }

    #[test]
    fn damaged_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        at in any::<prop::sample::Index>(),
        with in any::<u8>(),
        size in 0usize..2000,
    ) {
        for compressor in ALL {
            let _ = inflated(compressor, &bytes, size);
            let mut damaged = deflated(compressor, &bytes, -1);
            if !damaged.is_empty() {
                let at = at.index(damaged.len());
                damaged[at] = with;
            }
            if let Ok(out) = inflated(compressor, &damaged, bytes.len()) {
                prop_assert_eq!(out.len(), bytes.len());
            }
        }
    }
}
