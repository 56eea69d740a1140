//! Long curves in few points.

/// A step and a value.
pub(super) type Point = (f64, f64);

/// At most `limit` of the points, without losing a spike: the curve is cut into stretches of equal length,
/// and of each the lowest and the highest point stay. The first and the last point always do.
///
/// # Panics
/// When `limit` is below 4, which leaves nothing between the first and the last point.
pub(super) fn thin(points: &[Point], limit: usize) -> Vec<Point> {
    assert!(limit >= 4, "a curve has more than its ends");
    let [first, middle @ .., last] = points else { return points.to_vec() };
    if points.len() <= limit {
        return points.to_vec();
    }
    let stretches = (limit - 2) / 2;
    let mut kept = vec![*first];
    for i in 0..stretches {
        let stretch = &middle[middle.len() * i / stretches..middle.len() * (i + 1) / stretches];
        let by_value = |one: &&Point, other: &&Point| one.1.total_cmp(&other.1);
        let extremes = stretch.iter().min_by(by_value).zip(stretch.iter().max_by(by_value));
        let Some((low, high)) = extremes else { continue };
        let (earlier, later) = if low.0 <= high.0 { (low, high) } else { (high, low) };
        kept.push(*earlier);
        if earlier != later {
            kept.push(*later);
        }
    }
    kept.push(*last);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spikes_stay() {
        let mut points: Vec<Point> = (0..100_000).map(|i| (f64::from(i), 1.0)).collect();
        points[77_777].1 = 9.0;
        points[5].1 = -3.0;
        let few = thin(&points, 1000);
        assert!(few.len() <= 1000, "{}", few.len());
        assert!(few.contains(&(77_777.0, 9.0)) && few.contains(&(5.0, -3.0)));
        assert_eq!((few[0].0, few[few.len() - 1].0), (0.0, 99_999.0));
        assert!(few.is_sorted_by(|one, other| one.0 < other.0));
    }

    #[test]
    fn short_curves_are_left_alone() {
        for len in [0, 1, 2, 3, 10] {
            let points: Vec<Point> = (0..len).map(|i| (f64::from(i), f64::from(i * i))).collect();
            assert_eq!(thin(&points, 10), points);
        }
        let points: Vec<Point> = (0..11).map(|i| (f64::from(i), f64::from(-i))).collect();
        assert_eq!(thin(&points, 10).len(), 10);
    }
}
