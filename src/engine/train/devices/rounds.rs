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
    /// a device computed of it. `compute` gets a function that looks within a piece: when the function breaks, `compute` has to break.
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

#[cfg(test)]
mod tests {
    use super::super::threads::{Threads, on_devices};
    use super::*;

    /// What a device saw of pieces 0 to `pieces - 1`, of which piece i has i + 1 units.
    #[derive(Debug, Default, PartialEq)]
    struct Seen {
        computed: Vec<usize>,
        taken: Vec<(usize, Vec<f64>)>,
        looks: Vec<u64>,
        breaks: bool,
        is_asked: bool,
    }

    /// The numbers of a piece; their count differs from piece to piece.
    fn numbers(piece: usize) -> Vec<f64> {
        (0..piece).map(|i| 1.0 / (i + piece) as f64).collect()
    }

    /// Shares out `pieces`; a device in `stop` breaks off when it has seen that many units.
    fn share(devices: &Threads, pieces: usize, stop: Option<(usize, u64)>) -> Seen {
        let mut seen = Seen::default();
        let (mut looks, mut computed) = (Vec::new(), Vec::new());
        let mut look = |done| {
            looks.push(done);
            match stop.is_some_and(|(rank, at)| rank == devices.rank && done >= at) {
                true => Break(()),
                false => Continue(()),
            }
        };
        let done = Rounds::new(devices, &mut look).each(
            (0..pieces).map(|piece| Ok((piece as u64 + 1, piece))),
            |&piece, _| {
                computed.push(piece);
                Ok(Continue(numbers(piece)))
            },
            |piece, numbers| seen.taken.push((piece, numbers)),
        );
        let breaks = done.map_err(|error: DevicesError| error).expect("no device fails").is_break();
        Seen { computed, looks, breaks, is_asked: devices.is_asked_to_stop(), ..seen }
    }

    #[test]
    fn each_device_computes_its_pieces_and_all_get_all_in_order() {
        for count in 1..=3 {
            for pieces in 0..=7 {
                let all = on_devices(count, move |devices| share(devices, pieces, None));
                let units = |rounds: usize| (1..=(rounds * count).min(pieces) as u64).sum::<u64>();
                for (rank, seen) in all.into_iter().enumerate() {
                    let expected = Seen {
                        computed: (rank..pieces).step_by(count).collect(),
                        taken: (0..pieces).map(|piece| (piece, numbers(piece))).collect(),
                        looks: (1..=pieces.div_ceil(count)).map(units).collect(),
                        ..Seen::default()
                    };
                    assert_eq!(seen, expected, "device {rank} of {count}, {pieces} pieces");
                }
            }
        }
    }

    /// The work of all ends in the same round, whichever device breaks off; only the stop of another device is news to device 0.
    #[test]
    fn all_devices_break_off_together() {
        for rank in 0..3 {
            // The second round of three devices ends after 1 + .. + 6 units.
            let all = on_devices(3, move |devices| share(devices, 8, Some((rank, 7))));
            for (device, seen) in all.into_iter().enumerate() {
                let expected = Seen {
                    computed: vec![device, device + 3],
                    taken: (0..3).map(|piece| (piece, numbers(piece))).collect(),
                    looks: vec![6, 21],
                    breaks: true,
                    is_asked: rank > 0,
                };
                assert_eq!(seen, expected, "device {device}, {rank} breaks off");
            }
        }
    }

    /// A piece that takes long looks too; texts of any length travel.
    #[test]
    fn a_piece_can_break_off_and_texts_are_sent() {
        let texts = |piece: usize| vec!["\u{1f408} \"".repeat(piece), String::new()];
        let found = on_devices(2, move |devices| {
            let mut looks = 0;
            let mut look = |_| {
                looks += 1;
                if devices.rank == 1 && looks == 3 { Break(()) } else { Continue(()) }
            };
            let mut taken = Vec::new();
            let done = Rounds::new(devices, &mut look).each(
                (0..6).map(|piece| Ok((1, piece))),
                |&piece, look| Ok(look().map_continue(|()| texts(piece))),
                |piece, texts| taken.push((piece, texts)),
            );
            (done.map_err(|error: DevicesError| error).expect("no device fails"), taken)
        });
        let expected = (0..2).map(|piece| (piece, texts(piece))).collect::<Vec<_>>();
        assert_eq!(found, [(Break(()), expected.clone()), (Break(()), expected)]);
    }
}
