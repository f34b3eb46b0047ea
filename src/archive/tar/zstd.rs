//! What the crate ruzstd leaves to its users of a zstd stream (RFC 8878), so that what is read here
//! is what the zstd command reads: several frames and those to be skipped, the announced size, the
//! checksum, and nothing after the end.
//!
//! Memory is bounded by the window that a frame may ask for ([`WINDOW_LIMIT`]).

use std::io::{self, BufRead, ErrorKind, Read};

use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::Result;
use crate::archive::contents::least;
use crate::archive::source::Source;

/// The largest window, which is held in memory: what the zstd command takes unless told otherwise
/// (`--long=27`), and what no level needs of itself.
const WINDOW_LIMIT: u64 = 128 << 20;

/// What is decoded at once: a block of zstd's.
const DECODED: usize = 128 * 1024;

const FRAME: u32 = 0xfd2f_b528;
/// The lower half byte is the user's.
const SKIPPED: u32 = 0x184d_2a50;

/// Descriptor, window, dictionary and content size at their longest.
const HEADER_LENGTH: usize = 14;

/// Bytes that come out of a stream at the least: what its first frame announces.
pub(super) fn least_size(package: &Source) -> Result<u64> {
    let mut start = [0; 4 + HEADER_LENGTH];
    let known = least(package.length, start.len());
    package.read(&mut start[..known], 0)?;
    if start[..4] != FRAME.to_le_bytes() {
        return Ok(0);
    }
    let header = Header::of(start[4]);
    Ok(header.content_size(&start[4..]).unwrap_or_default())
}

/// The header of a frame, as its first byte describes it.
struct Header {
    /// Where the content's size is, and in how many bytes.
    size_at: usize,
    size_length: usize,
    dictionary: usize,
    reserved: bool,
}

impl Header {
    fn of(descriptor: u8) -> Self {
        let single = descriptor & 1 << 5 != 0;
        let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
        let size_length = match descriptor >> 6 {
            0 => usize::from(single),
            flag => 1 << flag,
        };
        Self {
            // A frame of a single segment has no window.
            size_at: 1 + usize::from(!single) + dictionary,
            size_length,
            dictionary,
            reserved: descriptor & 1 << 3 != 0,
        }
    }

    fn length(&self) -> usize {
        self.size_at + self.size_length
    }

    /// What a header announces; none where it says nothing of it.
    fn content_size(&self, header: &[u8]) -> Option<u64> {
        let field = header.get(self.size_at..self.length())?;
        let mut bytes = [0; 8];
        bytes[..field.len()].copy_from_slice(field);
        let size = u64::from_le_bytes(bytes);
        match field.len() {
            0 => None,
            // Less than that fits one byte.
            2 => Some(size + 256),
            _ => Some(size),
        }
    }
}

/// Decodes one frame after the other.
pub(super) struct Frames<R> {
    packed: R,
    decoder: FrameDecoder,
    /// Whether a frame was begun and not ended.
    within: bool,
    announced: Option<u64>,
    given: u64,
}

impl<R: BufRead> Frames<R> {
    pub(super) fn new(packed: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW_LIMIT);
        Self {
            packed,
            decoder,
            within: false,
            announced: None,
            given: 0,
        }
    }

    /// Begins the next frame; says whether there is one.
    fn begin(&mut self) -> io::Result<bool> {
        if self.packed.fill_buf()?.is_empty() {
            return Ok(false);
        }
        let magic = self.number()?;
        if magic & !0xf == SKIPPED {
            let length = u64::from(self.number()?);
            let skipped = io::copy(&mut (&mut self.packed).take(length), &mut io::sink())?;
            if skipped != length {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            return Ok(true);
        }
        if magic != FRAME {
            return Err(invalid("there are bytes after its end"));
        }
        let mut bytes = [0; HEADER_LENGTH];
        self.packed.read_exact(&mut bytes[..1])?;
        let header = Header::of(bytes[0]);
        if header.reserved {
            return Err(invalid("a reserved bit is set"));
        }
        if header.dictionary != 0 {
            return Err(invalid("it needs a dictionary"));
        }
        let bytes = &mut bytes[..header.length()];
        self.packed.read_exact(&mut bytes[1..])?;
        self.announced = header.content_size(bytes);
        let magic = magic.to_le_bytes();
        self.decoder
            .reset((&magic[..]).chain(&*bytes))
            .map_err(|error| undecodable(&error))?;
        self.given = 0;
        self.within = true;
        Ok(true)
    }

    fn number(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.packed.read_exact(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// At the end of a frame, compares what it said of itself.
    fn end(&mut self) -> io::Result<()> {
        self.within = false;
        if self.announced.is_some_and(|size| size != self.given) {
            return Err(invalid("it has another size than it announces"));
        }
        let announced = self.decoder.get_checksum_from_data();
        if announced.is_some() && announced != self.decoder.get_calculated_checksum() {
            return Err(invalid("its checksum is wrong"));
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.within {
                if self.begin()? {
                    continue;
                }
                return Ok(0);
            }
            let count = self.decoder.read(into)?;
            if count > 0 {
                self.given += count as u64;
                return Ok(count);
            }
            if self.decoder.is_finished() {
                self.end()?;
            } else {
                let some = BlockDecodingStrategy::UptoBytes(DECODED);
                self.decoder
                    .decode_blocks(&mut self.packed, some)
                    .map_err(|error| undecodable(&error))?;
            }
        }
    }
}

/// What a person gets to know of the decoder's error. It shows itself as its whole structure, which
/// helps nobody, and for which the launcher has no room.
fn undecodable(error: &FrameDecoderError) -> io::Error {
    invalid(match error {
        FrameDecoderError::WindowSizeTooBig { .. } => "it needs a window of more than 128 MiB",
        FrameDecoderError::FailedToReadBlockHeader(_) => {
            "the header of a block is wrong or cut off"
        }
        FrameDecoderError::FailedToReadBlockBody(_) => "a block is wrong or cut off",
        FrameDecoderError::FailedToReadChecksum(_) => "its checksum is cut off",
        _ => "the header of a frame is wrong",
    })
}

fn invalid(problem: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, problem)
}
