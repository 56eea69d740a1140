//! Python's pickle format, as far as it describes a state dict, read without running code.
//!
//! A pickle is a program for a machine with a stack and a memo: it pushes constants, collects them into tuples and
//! dicts, and calls Python functions by name (`GLOBAL`, then `REDUCE`). [`Machine`] knows the instructions that
//! `torch.save` writes and the few functions that rebuild tensors, which it replaces by a description; it refuses any
//! other function by name.
//!
//! Objects are in one arena and refer to each other by index, so a hostile pickle can build neither a cycle nor a
//! nesting that is expensive to drop. Text is borrowed from the pickle.

use std::collections::{HashMap, HashSet};

use super::dtype::Dtype;
use super::error::{Problem, quoted};
use crate::diagnostic::{Text, msg};

/// The instructions, as Python's `pickletools` documents them.
pub(super) mod op {
    pub const MARK: u8 = b'(';
    pub const STOP: u8 = b'.';
    pub const BININT: u8 = b'J';
    pub const BININT1: u8 = b'K';
    pub const BININT2: u8 = b'M';
    pub const LONG1: u8 = 0x8a;
    pub const NEWFALSE: u8 = 0x89;
    pub const BINUNICODE: u8 = b'X';
    pub const EMPTY_TUPLE: u8 = b')';
    pub const TUPLE: u8 = b't';
    pub const EMPTY_DICT: u8 = b'}';
    pub const SETITEM: u8 = b's';
    pub const SETITEMS: u8 = b'u';
    pub const GLOBAL: u8 = b'c';
    pub const REDUCE: u8 = b'R';
    pub const BUILD: u8 = b'b';
    pub const BINPERSID: u8 = b'Q';
    pub const PROTO: u8 = 0x80;
    pub const NONE: u8 = b'N';
    pub const NEWTRUE: u8 = 0x88;
    pub const BINFLOAT: u8 = b'G';
    pub const SHORT_BINUNICODE: u8 = 0x8c;
    pub const BINUNICODE8: u8 = 0x8d;
    pub const TUPLE1: u8 = 0x85;
    pub const TUPLE2: u8 = 0x86;
    pub const TUPLE3: u8 = 0x87;
    pub const EMPTY_LIST: u8 = b']';
    pub const APPEND: u8 = b'a';
    pub const APPENDS: u8 = b'e';
    pub const STACK_GLOBAL: u8 = 0x93;
    pub const BINPUT: u8 = b'q';
    pub const LONG_BINPUT: u8 = b'r';
    pub const MEMOIZE: u8 = 0x94;
    pub const BINGET: u8 = b'h';
    pub const LONG_BINGET: u8 = b'j';
    pub const FRAME: u8 = 0x95;
}

/// The newest pickle protocol.
const MAX_PROTOCOL: u8 = 5;
/// The limit of objects, of the stack and of the memo. A tensor takes about 20 objects, a large model has a few
/// thousand tensors.
const MAX_OBJECTS: usize = 1 << 20;
/// The largest pickle in bytes; a tensor takes about 200.
const MAX_LEN: usize = 16 << 20;
/// The most axes of a tensor, more than any weight has.
const MAX_AXES: usize = 16;

/// A tensor as a pickle describes it, not checked yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct PickledTensor<'a> {
    pub(super) storage: PickledStorage<'a>,
    /// In elements, like `shape` and `strides`.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// The storage of which a tensor is a view. The device it was saved from is ignored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct PickledStorage<'a> {
    pub(super) dtype: Dtype,
    /// The name of the archive entry.
    pub(super) key: &'a str,
    /// In elements.
    pub(super) len: usize,
}

/// The names and tensors of the dict that `pickle` builds, in its order.
///
/// # Errors
/// `Refused` for a function that a state dict does not need, `NotACheckpoint` when the result is not a dict from names
/// to tensors, `Corrupted` for all other errors.
pub(super) fn state_dict(pickle: &[u8]) -> Result<Vec<(&str, PickledTensor<'_>)>, Problem> {
    if pickle.len() > MAX_LEN {
        return Err(Problem::Corrupted(msg!(DATA_PKL_TOO_BIG, size = pickle.len())));
    }
    let mut machine = Machine {
        pickle,
        at: 0,
        objects: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    let top = machine.run()?;
    let Object::Dict { items, .. } = &machine.objects[top] else {
        return Err(not_a_state_dict(machine.objects[top].kind()));
    };
    let mut names = HashSet::new();
    let mut tensors = Vec::new();
    for &(name, value) in items {
        let Object::Text(name) = machine.objects[name] else {
            return Err(not_a_state_dict(msg!(DICT_WITH_OTHER_KEYS)));
        };
        let Object::Tensor(tensor) = &machine.objects[value] else {
            let kind = machine.objects[value].kind();
            return Err(not_a_state_dict(msg!(KIND_IN_PLACE, kind, place = quoted(name))));
        };
        if !names.insert(name) {
            return Err(Problem::Corrupted(msg!(PTH_TENSOR_TWICE, name = quoted(name))));
        }
        tensors.push((name, PickledTensor::clone(tensor)));
    }
    Ok(tensors)
}

fn not_a_state_dict(found: Text) -> Problem {
    Problem::NotACheckpoint { found, hint: Some(msg!(SAVE_ONLY_STATE_DICT)) }
}

/// Index into `Machine::objects`.
type Id = usize;

enum Object<'a> {
    None,
    Bool,
    Int(i64),
    Float,
    Text(&'a str),
    Tuple(Vec<Id>),
    /// Its items are not needed.
    List,
    Dict {
        items: Vec<(Id, Id)>,
        ordered: bool,
    },
    Global(Global),
    Storage(PickledStorage<'a>),
    Tensor(Box<PickledTensor<'a>>),
}

impl Object<'_> {
    fn kind(&self) -> Text {
        match self {
            Self::None => msg!(A_NONE),
            Self::Bool => msg!(A_TRUTH_VALUE),
            Self::Int(_) | Self::Float => msg!(A_NUMBER),
            Self::Text(_) => msg!(A_TEXT),
            Self::Tuple(_) => msg!(A_TUPLE),
            Self::List => msg!(A_LIST),
            Self::Dict { .. } => msg!(A_DICT),
            Self::Global(_) => msg!(A_CLASS_OR_FUNCTION),
            Self::Storage(_) => msg!(A_STORAGE),
            Self::Tensor(_) => msg!(A_TENSOR),
        }
    }
}

/// The classes and functions that a pickle may use.
#[derive(Clone, Copy)]
enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    StorageClass(Dtype),
}

impl Global {
    fn find(module: &str, name: &str) -> Option<Self> {
        let storage = |dtype: &Dtype| dtype.storage_class() == name;
        match (module, name) {
            ("collections", "OrderedDict") => Some(Self::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2") => Some(Self::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Some(Self::RebuildParameter),
            ("torch", _) => Dtype::ALL.into_iter().find(storage).map(Self::StorageClass),
            _ => None,
        }
    }
}

struct Machine<'a> {
    pickle: &'a [u8],
    /// The next byte of `pickle`.
    at: usize,
    objects: Vec<Object<'a>>,
    stack: Vec<Id>,
    /// Lengths of `stack` at each `MARK`.
    marks: Vec<usize>,
    memo: HashMap<usize, Id>,
}

impl<'a> Machine<'a> {
    /// Runs the instructions up to `STOP` and returns the resulting object.
    fn run(&mut self) -> Result<Id, Problem> {
        loop {
            let at = self.at;
            match self.number::<1>()? as u8 {
                op::PROTO => {
                    let protocol = self.number::<1>()?;
                    if protocol > u64::from(MAX_PROTOCOL) {
                        return Err(self.corrupted(msg!(PICKLE_PROTOCOL, protocol)));
                    }
                }
                op::FRAME => {
                    self.take(8)?; // a hint for reading ahead
                }
                op::STOP => return self.pop(),
                op::MARK => {
                    self.check_room(self.marks.len())?;
                    self.marks.push(self.stack.len());
                }

                op::NONE => self.push(Object::None)?,
                op::NEWTRUE | op::NEWFALSE => self.push(Object::Bool)?,
                op::BININT1 => self.push_number::<1>()?,
                op::BININT2 => self.push_number::<2>()?,
                op::BININT => {
                    let bits = self.number::<4>()? as u32;
                    self.push(Object::Int(i64::from(bits.cast_signed())))?;
                }
                op::LONG1 => self.push_long()?,
                op::BINFLOAT => {
                    self.take(8)?;
                    self.push(Object::Float)?;
                }
                op::SHORT_BINUNICODE => self.push_text::<1>()?,
                op::BINUNICODE => self.push_text::<4>()?,
                op::BINUNICODE8 => self.push_text::<8>()?,

                op::EMPTY_TUPLE => self.push(Object::Tuple(Vec::new()))?,
                op::TUPLE1 => self.push_tuple(1)?,
                op::TUPLE2 => self.push_tuple(2)?,
                op::TUPLE3 => self.push_tuple(3)?,
                op::TUPLE => {
                    let items = self.pop_to_mark()?;
                    self.push(Object::Tuple(items))?;
                }
                op::EMPTY_LIST => self.push(Object::List)?,
                op::APPEND => {
                    self.pop()?;
                }
                op::APPENDS => {
                    self.pop_to_mark()?;
                }
                op::EMPTY_DICT => {
                    self.push(Object::Dict { items: Vec::new(), ordered: false })?;
                }
                op::SETITEM => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.set_items(&[key, value])?;
                }
                op::SETITEMS => {
                    let items = self.pop_to_mark()?;
                    self.set_items(&items)?;
                }

                op::BINPUT => self.remember::<1>()?,
                op::LONG_BINPUT => self.remember::<4>()?,
                op::MEMOIZE => self.memoize(self.memo.len())?,
                op::BINGET => self.recall::<1>()?,
                op::LONG_BINGET => self.recall::<4>()?,

                op::GLOBAL => {
                    let (module, name) = (self.take_line()?, self.take_line()?);
                    self.push_global(module, name)?;
                }
                op::STACK_GLOBAL => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let (&Object::Text(module), &Object::Text(name)) =
                        (&self.objects[module], &self.objects[name])
                    else {
                        return Err(self.corrupted(msg!(PICKLE_CLASS_NAME)));
                    };
                    self.push_global(module, name)?;
                }
                op::BINPERSID => self.push_storage()?,
                op::REDUCE => self.call()?,
                op::BUILD => self.build()?,
                unknown => {
                    return Err(Problem::Corrupted(msg!(
                        PICKLE_INSTRUCTION,
                        unknown = format_args!("{unknown:#04x}"),
                        at
                    )));
                }
            }
        }
    }

    // --- Bytes of the pickle ---

    fn take(&mut self, len: usize) -> Result<&'a [u8], Problem> {
        let taken = self.pickle[self.at..].get(..len);
        let taken = taken.ok_or_else(|| self.corrupted(msg!(PICKLE_ENDS_EARLY)))?;
        self.at += len;
        Ok(taken)
    }

    /// The next `LEN` bytes, little-endian.
    fn number<const LEN: usize>(&mut self) -> Result<u64, Problem> {
        let bytes = self.take(LEN)?;
        Ok(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    fn take_line(&mut self) -> Result<&'a str, Problem> {
        let rest = &self.pickle[self.at..];
        let len = rest.iter().position(|&byte| byte == b'\n');
        let len = len.ok_or_else(|| self.corrupted(msg!(PICKLE_ENDS_EARLY)))?;
        let line = self.take(len)?;
        self.take(1)?; // the line feed
        self.text(line)
    }

    fn text(&self, bytes: &'a [u8]) -> Result<&'a str, Problem> {
        str::from_utf8(bytes).map_err(|_| self.corrupted(msg!(PICKLE_NOT_UTF8)))
    }

    fn corrupted(&self, what: Text) -> Problem {
        Problem::Corrupted(msg!(PICKLE_NEAR_BYTE, at = self.at, what))
    }

    // --- Stack and memo ---

    fn check_room(&self, used: usize) -> Result<(), Problem> {
        if used < MAX_OBJECTS {
            return Ok(());
        }
        Err(self.corrupted(msg!(PICKLE_TOO_MANY_OBJECTS, most = MAX_OBJECTS)))
    }

    fn push(&mut self, object: Object<'a>) -> Result<(), Problem> {
        self.check_room(self.objects.len())?;
        self.objects.push(object);
        self.push_id(self.objects.len() - 1)
    }

    fn push_id(&mut self, id: Id) -> Result<(), Problem> {
        self.check_room(self.stack.len())?;
        self.stack.push(id);
        Ok(())
    }

    /// The lowest index of the stack that may be popped.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Id, Problem> {
        let within = self.stack.get(self.floor()..).and_then(<[Id]>::last);
        within.copied().ok_or_else(|| self.corrupted(msg!(PICKLE_OPERAND_MISSING)))
    }

    fn pop(&mut self) -> Result<Id, Problem> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, Problem> {
        let mark = self.marks.pop().ok_or_else(|| self.corrupted(msg!(PICKLE_MARK_MISSING)))?;
        Ok(self.stack.split_off(mark))
    }

    fn memoize(&mut self, slot: usize) -> Result<(), Problem> {
        self.check_room(self.memo.len())?;
        self.memo.insert(slot, self.top()?);
        Ok(())
    }

    fn remember<const LEN: usize>(&mut self) -> Result<(), Problem> {
        let slot = self.number::<LEN>()? as usize;
        self.memoize(slot)
    }

    fn recall<const LEN: usize>(&mut self) -> Result<(), Problem> {
        let slot = self.number::<LEN>()? as usize;
        let id = self.memo.get(&slot).copied();
        self.push_id(id.ok_or_else(|| self.corrupted(msg!(PICKLE_RECALLS_NOTHING)))?)
    }

    // --- Constants ---

    /// An unsigned number of `LEN` bytes, at most 4.
    fn push_number<const LEN: usize>(&mut self) -> Result<(), Problem> {
        let value = self.number::<LEN>()?.cast_signed();
        self.push(Object::Int(value))
    }

    /// A length byte and as many bytes of a two's complement number.
    fn push_long(&mut self) -> Result<(), Problem> {
        let len = self.number::<1>()? as usize;
        let bytes = self.take(len)?;
        if len > 8 {
            return Err(self.corrupted(msg!(PICKLE_NUMBER_TOO_BIG)));
        }
        let sign = if bytes.last().is_some_and(|&byte| byte >= 0x80) { 0xff } else { 0 };
        let mut wide = [sign; 8];
        wide[..len].copy_from_slice(bytes);
        self.push(Object::Int(i64::from_le_bytes(wide)))
    }

    /// A length of `LEN` bytes and as many bytes of UTF-8.
    fn push_text<const LEN: usize>(&mut self) -> Result<(), Problem> {
        let len = usize::try_from(self.number::<LEN>()?).unwrap_or(usize::MAX);
        let bytes = self.take(len)?;
        let text = self.text(bytes)?;
        self.push(Object::Text(text))
    }

    fn push_tuple(&mut self, len: usize) -> Result<(), Problem> {
        let mut items = (0..len).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        self.push(Object::Tuple(items))
    }

    // --- Python objects ---

    /// Adds keys and values, in turn, to the dict on top of the stack.
    fn set_items(&mut self, items: &[Id]) -> Result<(), Problem> {
        let top = self.top()?;
        let (pairs, rest) = items.as_chunks::<2>();
        match &mut self.objects[top] {
            Object::Dict { items, .. } if rest.is_empty() => {
                items.extend(pairs.iter().map(|&[key, value]| (key, value)));
                Ok(())
            }
            _ => Err(self.corrupted(msg!(PICKLE_ITEMS_NOT_IN_DICT))),
        }
    }

    fn push_global(&mut self, module: &str, name: &str) -> Result<(), Problem> {
        let global = Global::find(module, name)
            .ok_or_else(|| Problem::Refused(quoted(&format!("{module}.{name}"))))?;
        self.push(Object::Global(global))
    }

    /// `BINPERSID`: `('storage', class, key, device, len)` becomes a storage.
    fn push_storage(&mut self) -> Result<(), Problem> {
        let id = self.pop()?;
        let storage = match self.tuple(id) {
            Some(&[tag, class, key, _device, len]) => self.storage(tag, class, key, len),
            _ => None,
        };
        let storage = storage.ok_or_else(|| self.corrupted(msg!(PICKLE_STORAGE)))?;
        self.push(Object::Storage(storage))
    }

    fn storage(&self, tag: Id, class: Id, key: Id, len: Id) -> Option<PickledStorage<'a>> {
        let Object::Text("storage") = self.objects[tag] else { return None };
        let Object::Global(Global::StorageClass(dtype)) = self.objects[class] else { return None };
        let Object::Text(key) = self.objects[key] else { return None };
        Some(PickledStorage { dtype, key, len: self.size(len)? })
    }

    /// `REDUCE`: replaces a function and the tuple of its arguments by the result.
    fn call(&mut self) -> Result<(), Problem> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let &Object::Global(function) = &self.objects[function] else {
            return Err(self.corrupted(msg!(PICKLE_CALLS_OTHER)));
        };
        match (function, self.tuple(arguments)) {
            (Global::OrderedDict, Some([])) => {
                self.push(Object::Dict { items: Vec::new(), ordered: true })
            }
            (Global::RebuildTensor, Some(&[storage, offset, shape, strides, _grad, _hooks])) => {
                let tensor = self
                    .tensor(storage, offset, shape, strides)
                    .ok_or_else(|| self.corrupted(msg!(PICKLE_TENSOR)))?;
                self.push(Object::Tensor(Box::new(tensor)))
            }
            (Global::RebuildParameter, Some(&[tensor, _grad, _hooks]))
                if matches!(self.objects[tensor], Object::Tensor(_)) =>
            {
                self.push_id(tensor)
            }
            _ => Err(self.corrupted(msg!(PICKLE_ARGUMENTS))),
        }
    }

    fn tensor(&self, storage: Id, offset: Id, shape: Id, strides: Id) -> Option<PickledTensor<'a>> {
        let Object::Storage(storage) = self.objects[storage] else { return None };
        let sizes = |id| {
            let items = self.tuple(id).filter(|items| items.len() <= MAX_AXES)?;
            items.iter().map(|&item| self.size(item)).collect::<Option<Vec<_>>>()
        };
        let (shape, strides) = (sizes(shape)?, sizes(strides)?);
        Some(PickledTensor { storage, offset: self.size(offset)?, shape, strides })
    }

    /// `BUILD`: sets attributes of the ordered dict below (`_metadata`), which are not needed.
    fn build(&mut self) -> Result<(), Problem> {
        let (attributes, object) = (self.pop()?, self.top()?);
        match (&self.objects[object], &self.objects[attributes]) {
            (Object::Dict { ordered: true, .. }, Object::Dict { .. }) => Ok(()),
            _ => Err(self.corrupted(msg!(PICKLE_ATTRIBUTES))),
        }
    }

    fn tuple(&self, id: Id) -> Option<&[Id]> {
        match &self.objects[id] {
            Object::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// A non-negative integer.
    fn size(&self, id: Id) -> Option<usize> {
        match self.objects[id] {
            Object::Int(value) => usize::try_from(value).ok(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Instructions that make the float32 tensor of 6 elements in `data/0` with this shape.
    fn tensor(shape: &[u8]) -> Vec<u8> {
        let mut pickle = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storage".to_vec();
        pickle.extend(b"ctorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06tQK\0");
        pickle.push(op::MARK);
        pickle.extend(shape.iter().flat_map(|&dim| [op::BININT1, dim]));
        pickle.extend([op::TUPLE, op::MARK]);
        pickle.extend(shape.iter().flat_map(|_| [op::BININT1, 1]));
        pickle.extend(b"t\x89}tR");
        pickle
    }

    /// A plain dict with one tensor, `a`.
    fn good() -> Vec<u8> {
        [b"\x80\x02}(X\x01\0\0\0a", tensor(&[6]).as_slice(), b"u."].concat()
    }

    fn problem(pickle: &[u8]) -> String {
        state_dict(pickle).expect_err("to be refused").to_string()
    }

    #[test]
    fn a_tensor_is_described() {
        let storage = PickledStorage { dtype: Dtype::F32, key: "0", len: 6 };
        let tensor = PickledTensor { storage, offset: 0, shape: vec![6], strides: vec![1] };
        assert_eq!(state_dict(&good()), Ok(vec![("a", tensor)]));
    }

    #[test]
    fn code_is_refused_by_name() {
        for pickle in [
            b"\x80\x02cos\nsystem\n(X\x01\0\0\0atR.".as_slice(),
            b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
            b"cos\nsystem\n", // refused at once, whatever follows
        ] {
            assert_eq!(problem(pickle), "refused to load the file: it calls `os.system`");
        }
        let hidden = b"cbuiltins\nexec\x1b[2K\n.";
        assert!(problem(hidden).ends_with("`builtins.exec\\u{1b}[2K`"));
        assert!(problem(b"ctorch\nload\n.").ends_with("it calls `torch.load`"));
        assert!(problem(b"ctorch.storage\n_load_from_bytes\n.").contains("_load_from_bytes"));
    }

    #[test]
    fn other_objects_are_named() {
        let found = |pickle: &[u8]| match state_dict(pickle) {
            Err(Problem::NotACheckpoint { found, .. }) => found,
            other => panic!("{other:?}"),
        };
        assert_eq!(found(b"]."), "a list");
        assert_eq!(found(&[tensor(&[6]), b".".to_vec()].concat()), "a tensor");
        assert_eq!(found(b"}(K\x01K\x02u."), "a dict whose keys are not all text");
        assert_eq!(found(b"}(X\x05\0\0\0epochK\x02u."), "a number in the place `epoch`");
        assert_eq!(found(b"}(X\x05\0\0\0model}u."), "a dict in the place `model`");
    }

    #[test]
    fn damage_is_an_error() {
        let good = good();
        for len in 0..good.len() {
            assert!(state_dict(&good[..len]).is_err(), "cut at {len}");
        }
        for (pickle, expected) in [
            (b"\x80\x06.".as_slice(), "near byte 2: protocol 6 is unknown"),
            (b"0.", "instruction 0x30 at byte 0, which is not used in state dicts"),
            (b".", "near byte 1: an operand is missing"),
            (b"}(K\x01u.", "near byte 5: items are added to an object that is not a dict"),
            (b"N(s.", "near byte 3: an operand is missing"),
            (b"u.", "near byte 1: a mark is missing"),
            (b"h\x05.", "near byte 2: it uses an object that was never stored"),
            (b"X\xff\xff\xff\xffa.", "near byte 5: the file ends too early"),
            (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffa.", "near byte 9: the file ends too early"),
            (b"X\x01\0\0\0\xff.", "near byte 6: a string is not UTF-8"),
            (b"\x8a\x09123456789.", "near byte 11: a number does not fit into 64 bits"),
            (b")Q.", "near byte 2: the description of a storage is invalid"),
            (b"))R.", "near byte 3: it calls an object that is not a function"),
            (b"}}b.", "near byte 3: it sets attributes of an object that is not an ordered dict"),
            (b"ccollections\nOrderedDict\nK\x01\x85R.", "the arguments of a function are invalid"),
        ] {
            let problem = problem(pickle);
            assert!(problem.contains(expected), "{problem:?} for {}", pickle.escape_ascii());
        }
        // -6 in the place of the storage's length.
        let len = good.windows(2).position(|pair| pair == [op::BININT1, 6]).expect("written above");
        let negative = [&good[..len], b"\x8a\x01\xfa", &good[len + 2..]].concat();
        assert!(problem(&negative).contains("the description of a storage is invalid"));
        let twice = [&good[..good.len() - 2], &good[4..]].concat();
        assert_eq!(problem(&twice), "the file is corrupted: it has two tensors `a`");
    }

    #[test]
    fn size_is_bounded() {
        assert!(problem(&[op::NONE; MAX_OBJECTS + 1]).contains("more than 1048576 objects"));
        assert!(problem(&[op::MARK; MAX_OBJECTS + 1]).contains("more than 1048576 objects"));
        let recalled = [b"Nq\0".as_slice(), &b"h\0".repeat(MAX_OBJECTS)].concat();
        assert!(problem(&recalled).contains("more than 1048576 objects"));
        let nested = [b"N".as_slice(), &[op::TUPLE1; MAX_OBJECTS - 1], b"."].concat();
        assert!(problem(&nested).contains("found a tuple"));
        assert!(problem(&[op::NONE; MAX_LEN + 1]).contains("16777217 bytes"));
        let axes = [b"}(X\x01\0\0\0a", tensor(&[1; MAX_AXES + 1]).as_slice(), b"u."].concat();
        assert!(problem(&axes).contains("the description of a tensor is invalid"));
    }
}
