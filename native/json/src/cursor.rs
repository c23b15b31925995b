//! Strict JSON, token by token. Every reader answers None where the text is not plainly what it reads.

/// A place in a text that is UTF-8.
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    /// The bytes from `start` to here.
    pub fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes()[start..self.at]
    }

    pub fn peek(&self) -> Option<u8> {
        self.bytes().get(self.at).copied()
    }

    pub fn next_if(&mut self, wanted: impl FnOnce(u8) -> bool) -> Option<u8> {
        let byte = self.peek().filter(|&byte| wanted(byte))?;
        self.at += 1;
        Some(byte)
    }

    /// The next byte that is not white space, and stays where it is.
    pub fn look(&mut self) -> Option<u8> {
        while self.next_if(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).is_some() {}
        self.peek()
    }

    /// Passes a byte that must come next, after any white space.
    pub fn expect(&mut self, byte: u8) -> Option<()> {
        if self.peek() != Some(byte) {
            self.look();
        }
        self.next_if(|next| next == byte).map(drop)
    }

    /// Passes a byte if it comes next, after any white space.
    pub fn passes(&mut self, byte: u8) -> bool {
        self.expect(byte).is_some()
    }

    /// The next eight bytes, if there are so many.
    pub fn next_eight(&self) -> Option<[u8; 8]> {
        self.bytes()[self.at..].first_chunk().copied()
    }

    /// Passes so many of the bytes that were looked at.
    pub fn pass(&mut self, count: usize) {
        self.at += count;
    }

    /// Passes a byte if it comes next: how many were passed. Without a branch, for what is often there and often not.
    pub fn passes_here(&mut self, byte: u8) -> usize {
        let count = usize::from(self.peek() == Some(byte));
        self.at += count;
        count
    }

    /// Passes a word that must come next.
    pub fn word(&mut self, word: &str) -> Option<()> {
        if !self.bytes()[self.at..].starts_with(word.as_bytes()) {
            return None;
        }
        self.at += word.len();
        Some(())
    }

    /// A text without escapes; None for one with any.
    pub fn plain_text(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        let start = self.at;
        while self.next_if(|byte| !matches!(byte, b'"' | b'\\' | ..b' ')).is_some() {}
        let text = &self.text[start..self.at];
        self.next_if(|byte| byte == b'"')?;
        Some(text)
    }

    /// Passes any value that is nested at most `depth` levels deep.
    pub fn skip(&mut self, depth: usize) -> Option<()> {
        match self.look()? {
            b'"' => self.skip_text(),
            b'{' => self.skip_members(depth.checked_sub(1)?),
            b'[' => self.skip_elements(depth.checked_sub(1)?),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => self.number().map(drop),
        }
    }

    fn skip_members(&mut self, depth: usize) -> Option<()> {
        self.expect(b'{')?;
        if self.passes(b'}') {
            return Some(());
        }
        loop {
            self.look();
            self.skip_text()?;
            self.expect(b':')?;
            self.skip(depth)?;
            if !self.passes(b',') {
                return self.expect(b'}');
            }
        }
    }

    fn skip_elements(&mut self, depth: usize) -> Option<()> {
        self.expect(b'[')?;
        if self.passes(b']') {
            return Some(());
        }
        loop {
            self.skip(depth)?;
            if !self.passes(b',') {
                return self.expect(b']');
            }
        }
    }

    fn skip_text(&mut self) -> Option<()> {
        self.next_if(|byte| byte == b'"')?;
        loop {
            while self.next_if(|byte| !matches!(byte, b'"' | b'\\' | ..b' ')).is_some() {}
            match self.next_if(|_| true)? {
                b'"' => return Some(()),
                b'\\' => self.skip_escape()?,
                _ => return None,
            }
        }
    }

    /// Halves of surrogate pairs are not looked at closely: every one of them is left to others.
    fn skip_escape(&mut self) -> Option<()> {
        match self.next_if(|_| true)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => {
                let start = self.at;
                while self.at < start + 4 {
                    self.next_if(|byte| byte.is_ascii_hexdigit())?;
                }
                let is_half = matches!(self.since(start), [b'd' | b'D', b'8'..=b'f', ..]);
                (!is_half).then_some(())
            }
            _ => None,
        }
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }
}
