//! Finds the longest token at the start of a text.

/// A prefix tree over token bytes, laid out breadth first.
///
/// The children of a node are neighbours, ordered by their byte, and end where those of the next node
/// begin. Node 0 is the root.
pub(super) struct Trie {
    nodes: Vec<Node>,
    /// The byte that leads from its parent to the node of the same index; unused for the root.
    bytes: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Node {
    first_child: u32,
    /// The token that ends here, 0 for none.
    token: u32,
}

impl Trie {
    /// A tree of `tokens`, which are indexed by id; empty ones are left out.
    pub(super) fn new(tokens: &[Box<[u8]>]) -> Self {
        let mut sorted: Vec<(&[u8], u32)> = (0u32..)
            .zip(tokens)
            .filter(|(_, bytes)| !bytes.is_empty())
            .map(|(id, bytes)| (&**bytes, id))
            .collect();
        sorted.sort_unstable();

        let mut trie = Self { nodes: Vec::new(), bytes: vec![0] };
        // Each node is the run of sorted tokens that begin with its bytes.
        let mut level = vec![&sorted[..]];
        let mut next_child = 1;
        for depth in 0.. {
            let mut below = Vec::new();
            for run in level {
                let (token, longer) = match run {
                    [(bytes, id), longer @ ..] if bytes.len() == depth => (*id, longer),
                    _ => (0, run),
                };
                trie.nodes.push(Node { first_child: next_child, token });
                for child in longer.chunk_by(|a, b| a.0[depth] == b.0[depth]) {
                    trie.bytes.push(child[0].0[depth]);
                    next_child += 1;
                    below.push(child);
                }
            }
            if below.is_empty() {
                break;
            }
            level = below;
        }
        // Ends the children of the last node.
        trie.nodes.push(Node { first_child: next_child, token: 0 });
        trie
    }

    /// Id and length of the longest token at the start of `text`, if any token is.
    pub(super) fn longest(&self, text: &[u8]) -> Option<(u32, usize)> {
        let mut longest = None;
        let mut node = 0;
        for (length, &byte) in (1..).zip(text) {
            let Some(child) = self.child(node, byte) else { break };
            node = child;
            if self.nodes[node].token != 0 {
                longest = Some((self.nodes[node].token, length));
            }
        }
        longest
    }

    fn child(&self, node: usize, byte: u8) -> Option<usize> {
        let first = self.nodes[node].first_child as usize;
        let end = self.nodes[node + 1].first_child as usize;
        let bytes = &self.bytes[first..end];
        // With all 256 single bytes present, the root's children are a table.
        if bytes.len() == 256 {
            return Some(first + usize::from(byte));
        }
        bytes.binary_search(&byte).ok().map(|index| first + index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trie(tokens: &[&str]) -> Trie {
        let mut by_id: Vec<Box<[u8]>> = vec![Box::default()];
        by_id.extend(tokens.iter().map(|token| token.as_bytes().into()));
        Trie::new(&by_id)
    }

    #[test]
    fn the_longest_token_wins() {
        let trie = trie(&["a", "ab", "abcd", "b"]);
        assert_eq!(trie.longest(b"abcz"), Some((2, 2)));
        assert_eq!(trie.longest(b"abcd"), Some((3, 4)));
        assert_eq!(trie.longest(b"ba"), Some((4, 1)));
        assert_eq!(trie.longest(b"c"), None);
        assert_eq!(trie.longest(b""), None);
    }

    #[test]
    fn unused_ids_match_nothing() {
        assert_eq!(trie(&["", "x", ""]).longest(b"x"), Some((2, 1)));
        assert_eq!(trie(&[]).longest(b"x"), None);
    }
}
