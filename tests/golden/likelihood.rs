//! Log-likelihoods of parts of texts, in batches of rows of any length, against the softmax of all logits of each row alone in
//! float64.

use std::ops::ControlFlow::{Break, Continue};

use statetune_engine::inference::{RowScore, ScoredRow, score_rows};
use statetune_engine::kernels::Op;
use statetune_engine::model::{Model, Shape, TimeState, Version, Weights};
use statetune_engine::train::{Devices, Rounds, Single};
use tch::{Device, Kind, Tensor};

use super::in_turn::{Threads, on_threads};

const VOCAB_SIZE: i64 = 96;
/// Difference of a sum of up to 600 log-probabilities.
const TOLERANCE: f64 = 1e-9;

/// Values in [-1, 1) by element, so that nothing is drawn at random.
fn fill(seed: u32, size: &[i64]) -> Tensor {
    let number = |i: i64| {
        f64::from(
            (i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed.wrapping_mul(40_503)) >> 8,
        )
    };
    let numbers: Vec<f64> =
        (0..size.iter().product()).map(|i| number(i) / 8_388_608.0 - 1.0).collect();
    Tensor::from_slice(&numbers).view(size)
}

fn model(version: Version) -> (Model, TimeState) {
    let shape = Shape::for_scratch(version, 2, 64, VOCAB_SIZE);
    let weights = Weights::from_fn(shape, |name, size| {
        let seed =
            name.bytes().fold(7u32, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
        fill(seed, size) * 0.2
    });
    let model = Model::new(&weights, Kind::Double, Op::Cpu);
    let zeros = TimeState::zeros(&shape, Kind::Double, Device::Cpu);
    let state = zeros.wkv.iter().map(|s| fill(99, &s.size()) * 0.1).collect();
    (model, TimeState::of_wkv(state))
}

fn row(length: usize, first: usize) -> ScoredRow {
    let id = |at: usize| 1 + ((at * 37 + length * 11) % 95) as u32;
    ScoredRow { ids: (0..length).map(id).collect(), first }
}

/// From the logits of all positions of a row alone.
fn expected(model: &Model, state: &TimeState, row: &ScoredRow) -> RowScore {
    let ids: Vec<i64> = row.ids.iter().map(|id| i64::from(*id)).collect();
    let inputs = Tensor::from_slice(&ids).unsqueeze(0);
    let (hidden, _) = model.forward(&inputs, &model.start(state, 1), None).expect("a pass");
    let all = Tensor::arange(ids.len() as i64, (Kind::Int64, Device::Cpu));
    let logits = model.logits(&hidden.at(&all)).to_kind(Kind::Double);
    let mut score = RowScore { logprob: 0.0, is_greedy: true };
    for (at, &id) in ids.iter().enumerate().skip(row.first) {
        let here = logits.get(at as i64 - 1);
        let greatest = here.max().double_value(&[]);
        let sum = (&here - greatest).exp().sum(Kind::Double).double_value(&[]);
        score.logprob += here.double_value(&[id]) - greatest - sum.ln();
        score.is_greedy &= here.double_value(&[id]) == greatest;
    }
    score
}

#[test]
fn rows_in_batches_have_the_likelihood_of_each_alone() {
    let _guard = tch::no_grad_guard();
    for version in Version::ALL {
        let (model, state) = model(version);
        let rows = [
            row(9, 1),
            row(2, 1),
            row(40, 39),
            row(17, 5),
            row(600, 3),
            row(513, 512),
            row(16, 15),
            row(5, 2),
        ];
        let mut rows = rows.to_vec();
        // A row whose scored token is the most likely one.
        let logits_of = |row: &ScoredRow| expected(&model, &state, row);
        let greedy = (1..VOCAB_SIZE as u32)
            .map(|id| ScoredRow { ids: vec![3, 5, id], first: 2 })
            .find(|row| logits_of(row).is_greedy);
        rows.extend(greedy);
        let scores = score_rows(&model, &state, &rows, &mut Rounds::alone(&mut |_| Continue(())))
            .expect("passes");
        let scores = scores.expect("an end");
        let mut is_greedy = 0;
        for (row, score) in rows.iter().zip(scores) {
            let expected = expected(&model, &state, row);
            let error = (score.logprob - expected.logprob).abs();
            assert!(error < TOLERANCE, "{version}, {} tokens: {error:e}", row.ids.len());
            assert_eq!(score.is_greedy, expected.is_greedy, "{version}");
            is_greedy += u32::from(score.is_greedy);
        }
        assert!(is_greedy > 0, "{version}: the test has a likely token");
        let mut look = |done| if done < 8 { Continue(()) } else { Break(()) };
        let broken = score_rows(&model, &state, &rows, &mut Rounds::alone(&mut look));
        assert_eq!(broken.expect("passes"), None);
    }
}

/// The log-probabilities of rows on a device whose state is scaled.
fn logprobs(devices: &dyn Devices, lengths: &[usize], scale: f64) -> Vec<u64> {
    let (model, state) = model(Version::V7);
    let state = state.map(|s| s * scale);
    let rows: Vec<ScoredRow> = lengths.iter().map(|&length| row(length, 1)).collect();
    let mut look = |_| Continue(());
    let scores = score_rows(&model, &state, &rows, &mut Rounds::new(devices, &mut look));
    let scores = scores.expect("no device fails").expect("an end");
    scores.into_iter().map(|score| score.logprob.to_bits()).collect()
}

#[test]
fn any_number_of_devices_gets_the_bits_of_the_likelihood() {
    // Batches of four rows, the short ones first, and a last one of one row.
    let lengths: Vec<usize> = (0..13).map(|i| 519 - i).collect();
    let one = logprobs(&Single, &lengths, 1.0);
    let on_devices = |scales: &[f64]| {
        let works = scales.iter().map(|&scale| {
            let lengths = lengths.clone();
            move |devices: &Threads| logprobs(devices, &lengths, scale)
        });
        on_threads(works.collect())
    };
    for count in [2, 3] {
        assert!(on_devices(&vec![1.0; count]).iter().all(|found| *found == one), "{count} devices");
    }
    // A device with another state has computed the rows whose numbers are others: the second and the fourth batch.
    let found = on_devices(&[1.0, 1.1]);
    let others = (0..13).filter(|&row| found[0][row] != one[row]).collect::<Vec<_>>();
    assert_eq!((found[0] == found[1], others), (true, vec![0, 5, 6, 7, 8]));
}
