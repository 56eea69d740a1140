//! Turns the bytes of sampled tokens into text for a reader, piece by piece.

/// Releases the text of an answer as soon as it is certain: whole characters, without surrounding white space, without
/// the stop text.
#[derive(Debug)]
pub(super) struct AnswerBuffer {
    stops: Vec<Vec<u8>>,
    /// The rest of a tag that the prompt began, which is not part of the text.
    skip: &'static [u8],
    /// Bytes that may still be white space at the end, a partial character, or the start of a stop text.
    held: Vec<u8>,
    /// Whether text was released.
    begun: bool,
    stopped: bool,
}

impl AnswerBuffer {
    /// A buffer for an answer that ends before the first of `stops`, none of which is empty.
    pub(super) fn new(stops: &[String]) -> AnswerBuffer {
        let stops = stops.iter().map(|stop| stop.as_bytes().to_vec()).collect();
        AnswerBuffer { stops, skip: b"", held: Vec::new(), begun: false, stopped: false }
    }

    /// Leaves out `skip`, an ASCII character, at the start of the answer.
    pub(super) fn without(self, skip: &'static str) -> AnswerBuffer {
        AnswerBuffer { skip: skip.as_bytes(), ..self }
    }

    /// Adds the bytes of a token and returns the text that became certain. Invalid UTF-8 becomes replacement characters.
    pub(super) fn push(&mut self, bytes: &[u8]) -> String {
        self.held.extend(bytes);
        if !self.held.is_empty() {
            let skip = std::mem::take(&mut self.skip);
            if self.held.starts_with(skip) {
                self.held.drain(..skip.len());
            }
        }
        if !self.begun {
            let blank = self.held.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            // A stop text may begin with white space.
            let blank = blank.min(self.stop_or_doubt().unwrap_or(blank));
            self.held.drain(..blank);
        }
        let stop = self.stops.iter().filter_map(|stop| find(&self.held, stop)).min();
        if let Some(stop) = stop {
            self.held.truncate(stop);
            self.stopped = true;
            return self.finish();
        }
        let certain = self.certain();
        self.begun |= certain > 0;
        let piece: Vec<u8> = self.held.drain(..certain).collect();
        String::from_utf8_lossy(&piece).into_owned()
    }

    /// Whether a stop text was found.
    pub(super) fn stopped(&self) -> bool {
        self.stopped
    }

    /// The rest of the text at the end of the answer.
    pub(super) fn finish(&mut self) -> String {
        let rest = std::mem::take(&mut self.held);
        let rest = if self.begun { rest.trim_ascii_end() } else { rest.trim_ascii() };
        String::from_utf8_lossy(rest).into_owned()
    }

    /// Where a stop text begins or may begin in the held bytes.
    fn stop_or_doubt(&self) -> Option<usize> {
        let stop = |stop: &Vec<u8>| find(&self.held, stop).or_else(|| self.doubt(stop));
        self.stops.iter().filter_map(stop).min()
    }

    /// Where the held bytes end with a prefix of `stop`.
    fn doubt(&self, stop: &[u8]) -> Option<usize> {
        let from = (self.held.len() + 1).saturating_sub(stop.len());
        (from..self.held.len()).find(|&at| stop.starts_with(&self.held[at..]))
    }

    /// How many of the held bytes can be released.
    fn certain(&self) -> usize {
        let mut certain = self.held.len();
        if let Some(doubt) = self.stops.iter().filter_map(|stop| self.doubt(stop)).min() {
            certain = doubt;
        }
        certain = self.held[..certain].trim_ascii_end().len();
        // A character has at most four bytes; its first one tells how many.
        let lead =
            (certain.saturating_sub(4)..certain).rev().find(|&at| self.held[at] & 0xc0 != 0x80);
        match lead {
            Some(at) if at + char_len(self.held[at]) > certain => at,
            _ => certain,
        }
    }
}

/// Bytes of the character that begins with `lead`.
fn char_len(lead: u8) -> usize {
    match lead {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text released for each of `tokens`, and at the end.
    fn pieces(stops: &[&str], tokens: &[&[u8]]) -> Vec<String> {
        let stops: Vec<String> = stops.iter().map(|stop| stop.to_string()).collect();
        let mut buffer = AnswerBuffer::new(&stops);
        let mut pieces: Vec<String> = tokens.iter().map(|token| buffer.push(token)).collect();
        pieces.push(buffer.finish());
        pieces
    }

    #[test]
    fn white_space_around_an_answer_is_removed() {
        assert_eq!(
            pieces(&[], &[b" ", b" Hello", b" ", b"you", b"\n"]),
            ["", "Hello", "", " you", "", ""]
        );
        assert_eq!(pieces(&[], &[b" \n"]), ["", ""]);
    }

    #[test]
    fn characters_stay_whole() {
        let cat = "🐱".as_bytes();
        let tokens: [&[u8]; 4] = [b"a", &cat[..2], &cat[2..3], &cat[3..]];
        assert_eq!(pieces(&[], &tokens), ["a", "", "", "🐱", ""]);
        // An answer cut within a character, and invalid bytes.
        assert_eq!(pieces(&[], &[b"a", &cat[..2]]), ["a", "", "\u{fffd}"]);
        assert_eq!(pieces(&[], &[b"\xff\xff", b"b"]), ["\u{fffd}\u{fffd}", "b", ""]);
    }

    #[test]
    fn the_rest_of_a_tag_is_left_out() {
        let first = |bytes: &[u8]| AnswerBuffer::new(&[]).without(">").push(bytes);
        assert_eq!(
            (first(b">\nHi"), first(b"> >"), first(b"Hi")),
            ("Hi".into(), ">".into(), "Hi".into())
        );
    }

    #[test]
    fn stop_texts_are_never_released() {
        let stops = ["\n\nUser:", "END"];
        let tokens: [&[u8]; 4] = [b"Fine.", b"\n\n", b"User", b": what"];
        assert_eq!(pieces(&stops, &tokens), ["Fine.", "", "", "", ""]);
        let tokens: [&[u8]; 3] = [b"Fine.", b"\n\nUse", b"ful"];
        assert_eq!(pieces(&stops, &tokens), ["Fine.", "", "\n\nUseful", ""]);
        assert_eq!(pieces(&stops, &[b"THE E", b"ND", b"x"])[..2], ["THE", ""]);
        assert_eq!(pieces(&stops, &[b"\n\n", b"User:"]), ["", "", ""]);
    }
}
