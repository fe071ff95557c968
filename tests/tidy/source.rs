//! A Rust source as tokens: enough of the language to tell code from comments, text and tests.

/// One token, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    /// A name, a number, `::`, one character of punctuation, or `""` for any literal text.
    pub(crate) text: String,
    /// Counted from 1.
    pub(crate) line: usize,
    /// Whether it belongs to an item that only tests are built with.
    pub(crate) in_tests: bool,
}

/// One file.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the repository's root, with slashes.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) tokens: Vec<Token>,
    /// The text of each comment line, and its line.
    pub(crate) comments: Vec<(usize, String)>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let mut lexer = Lexer { chars: text.chars().collect(), line: 1, ..Lexer::default() };
        lexer.run();
        let mut tokens = lexer.tokens;
        let for_tests = ["/tests.rs", "/tests/", "/models.rs", "/models/"];
        if for_tests.iter().any(|part| path.contains(part)) {
            tokens.iter_mut().for_each(|token| token.in_tests = true);
        }
        mark_tests(&mut tokens);
        Self { path: path.into(), text: text.into(), tokens, comments: lexer.comments }
    }

    /// The text of token `at`, and nothing past the end.
    pub(crate) fn word(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| &token.text)
    }

    /// The index of the brace that closes the one at `open`.
    pub(crate) fn closing(&self, open: usize) -> usize {
        closing(&self.tokens, open)
    }
}

pub(crate) fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first == '_' || first.is_alphabetic())
}

fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len().saturating_sub(1)
}

/// Marks the items behind `#[test]` and `#[cfg(test)]`, up to their closing brace or semicolon.
fn mark_tests(tokens: &mut [Token]) {
    let mut at = 0;
    while at + 2 < tokens.len() {
        let opens = tokens[at].text == "#" && tokens[at + 1].text == "[";
        if !opens {
            at += 1;
            continue;
        }
        let end = closing(tokens, at + 1);
        let inside: Vec<_> = tokens[at + 2..end].iter().map(|token| &*token.text).collect();
        let for_tests = inside == ["test"]
            || (inside.first() == Some(&"cfg") && inside.contains(&"test"))
                && !inside.contains(&"not");
        if !for_tests {
            at = end + 1;
            continue;
        }
        let mut last = end + 1;
        while last < tokens.len() && !matches!(&*tokens[last].text, ";" | "{") {
            last = if tokens[last].text == "[" { closing(tokens, last) + 1 } else { last + 1 };
        }
        if last < tokens.len() && tokens[last].text == "{" {
            last = closing(tokens, last);
        }
        let last = last.min(tokens.len() - 1);
        tokens[at..=last].iter_mut().for_each(|token| token.in_tests = true);
        at = last + 1;
    }
}

#[derive(Default)]
struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    tokens: Vec<Token>,
    comments: Vec<(usize, String)>,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn bump(&mut self) -> char {
        let next = self.peek(0);
        self.line += usize::from(next == '\n');
        self.at += 1;
        next
    }

    fn push(&mut self, line: usize, text: impl Into<String>) {
        self.tokens.push(Token { text: text.into(), line, in_tests: false });
    }

    fn run(&mut self) {
        while self.at < self.chars.len() {
            let line = self.line;
            match (self.peek(0), self.peek(1)) {
                ('/', '/') => self.line_comment(),
                ('/', '*') => self.block_comment(),
                ('"', _) => self.text(line),
                ('\'', _) => self.character_or_lifetime(line),
                (':', ':') => {
                    self.at += 2;
                    self.push(line, "::");
                }
                (first, _) if first == '_' || first.is_alphanumeric() => self.name(line),
                (first, _) => {
                    self.bump();
                    if !first.is_whitespace() {
                        self.push(line, first);
                    }
                }
            }
        }
    }

    fn line_comment(&mut self) {
        let mut text = String::new();
        while self.at < self.chars.len() && self.peek(0) != '\n' {
            text.push(self.bump());
        }
        self.comments.push((self.line, text));
    }

    fn block_comment(&mut self) {
        let (mut depth, mut text) = (0, String::new());
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                ('\n', _) => self.comments.push((self.line, std::mem::take(&mut text))),
                _ => {}
            }
            let two = matches!((self.peek(0), self.peek(1)), ('/', '*') | ('*', '/'));
            text.push(self.bump());
            if two {
                text.push(self.bump());
            }
            if depth == 0 {
                break;
            }
        }
        self.comments.push((self.line, text));
    }

    fn text(&mut self, line: usize) {
        self.bump();
        while self.at < self.chars.len() {
            match self.bump() {
                '\\' => drop(self.bump()),
                '"' => break,
                _ => {}
            }
        }
        self.push(line, "\"\"");
    }

    fn raw_text(&mut self, line: usize) {
        let mut hashes = 0;
        while self.peek(0) == '#' {
            self.bump();
            hashes += 1;
        }
        self.bump();
        while self.at < self.chars.len() {
            if self.bump() == '"' && (0..hashes).all(|ahead| self.peek(ahead) == '#') {
                self.at += hashes;
                break;
            }
        }
        self.push(line, "\"\"");
    }

    fn character_or_lifetime(&mut self, line: usize) {
        self.bump();
        if self.peek(0) == '\\' {
            self.bump();
            self.bump();
        } else if self.peek(1) == '\'' {
            self.bump();
        } else {
            // A lifetime: its name is no identifier of ours.
            while self.peek(0) == '_' || self.peek(0).is_alphanumeric() {
                self.bump();
            }
            return;
        }
        while self.at < self.chars.len() && self.bump() != '\'' {}
        self.push(line, "\"\"");
    }

    fn name(&mut self, line: usize) {
        let mut name = String::new();
        while self.peek(0) == '_' || self.peek(0).is_alphanumeric() {
            name.push(self.bump());
        }
        match (&*name, self.peek(0)) {
            ("b" | "c", '"') => self.text(line),
            ("b", '\'') => self.character_or_lifetime(line),
            ("r" | "br" | "cr", '"') => self.raw_text(line),
            ("r" | "br" | "cr", '#') if matches!(self.peek(1), '"' | '#') => self.raw_text(line),
            ("r", '#') => {
                self.bump();
                self.name(line);
            }
            _ => self.push(line, name),
        }
    }
}
