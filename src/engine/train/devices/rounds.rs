//! Work without gradients that devices share: they take its pieces in turn.

use std::fmt;
use std::ops::ControlFlow::{self, Break, Continue};

use super::{Devices, DevicesError, Single};

/// What a device computes of a piece, as it travels to the others.
pub trait Sent: Sized {
    /// The value as bytes.
    fn to_bytes(&self) -> Vec<u8>;

    /// The value that another device of the same program sent.
    fn from_bytes(bytes: &[u8]) -> Self;
}

impl Sent for Vec<f64> {
    fn to_bytes(&self) -> Vec<u8> {
        self.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    fn from_bytes(bytes: &[u8]) -> Vec<f64> {
        bytes.as_chunks().0.iter().map(|number| f64::from_le_bytes(*number)).collect()
    }
}

impl Sent for Vec<String> {
    fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data")
    }

    fn from_bytes(bytes: &[u8]) -> Vec<String> {
        serde_json::from_slice(bytes).expect("what `to_bytes` makes")
    }
}

/// What a device sends after a round, before the bytes of its piece.
const BREAKS_OFF: u8 = 0;
const GOES_ON: u8 = 1;

/// Work that devices share: pieces in rounds of one for each device, of which device r computes the r-th. Every device makes the
/// same calls, and gets what was computed of every piece in the order of the pieces. So sums over the pieces have the same bits for any
/// number of devices.
pub struct Rounds<'a> {
    devices: &'a dyn Devices,
    look: &'a mut dyn FnMut(u64) -> ControlFlow<()>,
    /// Units of work done.
    done: u64,
}

impl<'a> Rounds<'a> {
    /// Work of `devices`. `look` sees the units done after each round, and may break off: the work of all devices ends then.
    pub fn new(
        devices: &'a dyn Devices,
        look: &'a mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Rounds<'a> {
        Rounds { devices, look, done: 0 }
    }

    /// Work of one device.
    pub fn alone(look: &'a mut dyn FnMut(u64) -> ControlFlow<()>) -> Rounds<'a> {
        Rounds::new(&Single, look)
    }

    /// Shares the `pieces`, each with its units of work. Calls `compute` with the pieces of this device, and `take` with every piece and what
    /// a device computed of it. `compute` may call the function that it gets, which looks too, and has to break off when the function does.
    ///
    /// Breaks when a device breaks off. Device 0 notes that it was asked to stop when another device was.
    ///
    /// # Errors
    /// The first error of `pieces` and `compute`, and a device that is gone or failed.
    pub fn each<P, T: Sent, E: From<DevicesError>>(
        &mut self,
        mut pieces: impl Iterator<Item = Result<(u64, P), E>>,
        mut compute: impl FnMut(
            &P,
            &mut dyn FnMut() -> ControlFlow<()>,
        ) -> Result<ControlFlow<(), T>, E>,
        mut take: impl FnMut(P, T),
    ) -> Result<ControlFlow<()>, E> {
        loop {
            let round =
                pieces.by_ref().take(self.devices.count()).collect::<Result<Vec<_>, E>>()?;
            if round.is_empty() {
                return Ok(Continue(()));
            }
            let before = self.done;
            let mine = match round.get(self.devices.rank()) {
                Some((_, piece)) => compute(piece, &mut || (self.look)(before))?.map_continue(Some),
                None => Continue(None),
            };
            self.done += round.iter().map(|(units, _)| units).sum::<u64>();
            let mine = match mine {
                Continue(mine) => (self.look)(self.done).map_continue(|()| mine),
                Break(()) => Break(()),
            };
            let Continue(all) = self.exchange(mine, round.len())? else { return Ok(Break(())) };
            round.into_iter().zip(all).for_each(|((_, piece), computed)| take(piece, computed));
        }
    }

    /// What the first `pieces` devices computed, on every device; breaks when a device does.
    fn exchange<T: Sent>(
        &self,
        mine: ControlFlow<(), Option<T>>,
        pieces: usize,
    ) -> Result<ControlFlow<(), Vec<T>>, DevicesError> {
        if self.devices.is_single() {
            return Ok(mine.map_continue(Vec::from_iter));
        }
        let bytes = match mine {
            Continue(mine) => {
                [vec![GOES_ON], mine.map_or_else(Vec::new, |mine| mine.to_bytes())].concat()
            }
            Break(()) => vec![BREAKS_OFF],
        };
        let all = self.devices.gather_bytes(&bytes)?;
        let breaks_off: Vec<bool> = all.iter().map(|bytes| bytes[0] == BREAKS_OFF).collect();
        if breaks_off[1..].contains(&true) {
            self.devices.ask_to_stop();
        }
        Ok(match breaks_off.contains(&true) {
            true => Break(()),
            false => {
                Continue(all[..pieces].iter().map(|bytes| T::from_bytes(&bytes[1..])).collect())
            }
        })
    }
}

impl fmt::Debug for Rounds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rounds { devices, done, .. } = self;
        f.debug_struct("Rounds").field("devices", devices).field("done", done).finish()
    }
}
