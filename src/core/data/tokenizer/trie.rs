//! A prefix tree that finds the longest token at the start of a text.

/// Marks an unused cell.
const FREE: u32 = u32::MAX;

/// A prefix tree over token bytes as a double array (Aoe, IEEE Transactions on Software Engineering 15,
/// 1989). A node is a cell; its child by the byte b is the cell `base ^ b`, if the parent of that cell is the node.
/// So each byte of text reads one cell.
pub(crate) struct Trie {
    cells: Vec<Cell>,
}

#[derive(Clone, Copy)]
struct Cell {
    /// The cell of the parent node; [`FREE`] for an unused cell.
    parent: u32,
    /// See [`Trie`]; 0 for a node without children, because no child has a cell below 256.
    base: u32,
    /// The token that ends at this node, 0 for none.
    token: u32,
}

/// Cells whose indices differ in the lowest byte only; the children of a node share a block.
const BLOCK: usize = 256;
/// Blocks that are searched for room before a block is added.
const OPEN_BLOCKS: usize = 64;

impl Trie {
    /// A tree of `tokens`, indexed by id; empty tokens are skipped.
    pub(crate) fn new(tokens: &[Box<[u8]>]) -> Self {
        let mut sorted: Vec<(&[u8], u32)> = (0u32..)
            .zip(tokens)
            .filter(|(_, bytes)| !bytes.is_empty())
            .map(|(id, bytes)| (&**bytes, id))
            .collect();
        sorted.sort_unstable();
        let mut cells = Cells::default();
        cells.add_block(); // holds only the root, so that no child has cell 0
        cells.open.clear();
        // Each node is the run of sorted tokens that begin with its bytes.
        let mut waiting = vec![(0, 0, &sorted[..])];
        while let Some((node, depth, run)) = waiting.pop() {
            let longer = match run {
                [(bytes, id), longer @ ..] if bytes.len() == depth => {
                    cells.all[node].token = *id;
                    longer
                }
                _ => run,
            };
            let children: Vec<&[(&[u8], u32)]> =
                longer.chunk_by(|a, b| a.0[depth] == b.0[depth]).collect();
            let labels: Vec<u8> = children.iter().map(|child| child[0].0[depth]).collect();
            if labels.is_empty() {
                continue;
            }
            let base = cells.take(node, &labels);
            let places = labels.iter().map(|label| base ^ usize::from(*label));
            waiting.extend(places.zip(children).map(|(place, child)| (place, depth + 1, child)));
        }
        Self { cells: cells.all }
    }

    /// Id and length of the longest token at the start of `text`, if there is one.
    pub(crate) fn longest(&self, text: &[u8]) -> Option<(u32, usize)> {
        let (mut node, mut base) = (0, self.cells[0].base);
        let mut longest = None;
        for (length, &byte) in (1..).zip(text) {
            let child = base ^ u32::from(byte);
            let cell = self.cells[child as usize];
            if cell.parent != node {
                break;
            }
            (node, base) = (child, cell.base);
            if cell.token != 0 {
                longest = Some((cell.token, length));
            }
        }
        longest
    }
}

/// The cells of a tree while it is built.
#[derive(Default)]
struct Cells {
    all: Vec<Cell>,
    /// The first cell and the number of free cells of each block that has free cells.
    open: Vec<(usize, usize)>,
}

impl Cells {
    fn add_block(&mut self) {
        self.open.push((self.all.len(), BLOCK));
        let free = Cell { parent: FREE, base: 0, token: 0 };
        self.all.resize(self.all.len() + BLOCK, free);
    }

    /// Adds children with these labels to `node`, and returns its base.
    fn take(&mut self, node: usize, labels: &[u8]) -> usize {
        let found = self.find(labels);
        let (index, base) = found.unwrap_or_else(|| {
            self.add_block();
            let index = self.open.len() - 1;
            (index, self.open[index].0)
        });
        self.all[node].base = base as u32;
        for label in labels {
            self.all[base ^ usize::from(*label)].parent = node as u32;
        }
        self.open[index].1 -= labels.len();
        if self.open[index].1 == 0 {
            self.open.swap_remove(index);
        }
        base
    }

    /// An open block and a base in it for which the cells of all labels are free.
    fn find(&self, labels: &[u8]) -> Option<(usize, usize)> {
        let newest_first = self.open.iter().enumerate().rev().take(OPEN_BLOCKS);
        let with_room = newest_first.filter(|(_, (_, free))| *free >= labels.len());
        with_room
            .flat_map(|(index, (block, _))| (*block..block + BLOCK).map(move |base| (index, base)))
            .find(|(_, base)| {
                labels.iter().all(|label| self.all[base ^ usize::from(*label)].parent == FREE)
            })
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
