//! Findings depend on the calls alone.

use lapwing_telemetry::{Finding, FindingKind, Outcome, Signal};
use proptest::prelude::*;

use crate::scenes::{DAY, HOUR, MONDAY, Mesh, SECOND, Shot, settings, steady};

const END: i64 = MONDAY + 3 * DAY;

/// Three days of three pairs, with trouble on the last that differs by `seed`.
fn calls(seed: u64) -> Vec<Shot> {
    let names = [("shop/cart", "data/orders"), ("shop/web", "shop/cart"), ("ops/job", "data/orders")];
    let mut shots: Vec<Shot> =
        names.iter().zip([30, 60, 12]).flat_map(|((s, d), rate)| steady(MONDAY, END, rate, s, d)).collect();
    let mut state = seed | 1;
    let mut random = move |n: i64| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        ((state >> 33) as i64) % n
    };
    let trouble = END - 12 * HOUR;
    shots.retain(|s| s.at < trouble || s.source.as_deref() != Some("ops/job"));
    for _ in 0..400 {
        let (source, destination) = names[random(2) as usize];
        let at = trouble + random(4 * HOUR / SECOND) * SECOND;
        shots.push(Shot {
            received_at: at + random(25) * SECOND,
            ms: 10 + random(400),
            signal: Signal::ALL[random(2) as usize],
            outcome: if random(3) == 0 { Outcome::ServerError } else { Outcome::Ok },
            authn: (random(9) == 0).then_some("expired"),
            tls: Some(if random(2) == 0 { "plaintext" } else { "TLSv1.3" }),
            attempts: ["1", "1", "3", "4"][random(4) as usize],
            ..Shot::new(at, source, destination)
        });
    }
    shots.push(Shot::new(trouble + HOUR, "ops/new", "data/orders"));
    shots.extend(steady(trouble, trouble + 4 * HOUR, 40, "ops/beat", "data/orders"));
    shots.push(Shot {
        operation: "GET /admin",
        ..Shot::new(trouble + 2 * HOUR + 7 * SECOND, "shop/cart", "data/orders")
    });
    let probed = ["data/orders", "pay/a", "pay/b", "user/a", "user/b"];
    shots.extend(
        probed.iter().zip(0..).map(|(to, i)| Shot::new(trouble + HOUR + i * 37 * SECOND, "shop/web", to)),
    );
    shots.sort_by_key(|s| s.received_at);
    shots
}

fn whole(shots: &[Shot]) -> Vec<Finding> {
    let mut mesh = Mesh::new(&settings(), 1);
    mesh.feed(shots, 500);
    mesh.sorted(END + 2 * HOUR)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn batches_and_partitions_do_not_change_findings(seed: u64, size in 1_usize..700, partitions in 1_u16..6) {
        let shots = calls(seed);
        let expected = whole(&shots);
        prop_assert!(expected.len() >= 4, "the scene has something to find");
        let kinds = [
            FindingKind::Scan,
            FindingKind::CrossNamespace,
            FindingKind::NewOperation,
            FindingKind::TlsDowngrade,
            FindingKind::RetryStorm,
            FindingKind::Beaconing,
        ];
        for kind in kinds {
            prop_assert!(expected.iter().any(|f| f.kind == kind), "{kind}");
        }
        prop_assert!(expected.iter().any(|f| f.incident != f.id));
        let mut mesh = Mesh::new(&settings(), partitions);
        mesh.feed(&shots, size);
        prop_assert_eq!(mesh.sorted(END + 2 * HOUR), expected);
    }

    #[test]
    fn quiet_words_and_restarts_do_not_change_findings(seed: u64, cuts in prop::collection::vec(0_usize..1_000, 1..6)) {
        let shots = calls(seed);
        let expected = whole(&shots);
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c * shots.len() / 1_000).collect();
        cuts.push(shots.len());
        cuts.sort_unstable();
        let mut mesh = Mesh::new(&settings(), 2);
        let mut from = 0;
        for cut in cuts {
            mesh.feed(&shots[from..cut], 97);
            if let Some(next) = shots.get(cut) {
                mesh.quiet(next.received_at);
            }
            mesh.restart(&settings());
            from = cut;
        }
        prop_assert_eq!(mesh.sorted(END + 2 * HOUR), expected);
    }

    #[test]
    fn the_order_of_calls_that_arrive_together_does_not_change_findings(seed: u64, swap: u64) {
        let mut shots = calls(seed);
        // Arrivals in whole ten seconds, and within each the order by a hash.
        shots.iter_mut().for_each(|s| s.received_at = s.received_at / (10 * SECOND) * (10 * SECOND) + 10 * SECOND);
        let expected = whole(&shots);
        shots.sort_by_key(|s| (s.received_at, (s.at as u64 ^ swap).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        prop_assert_eq!(whole(&shots), expected);
    }
}

#[test]
fn a_frame_that_the_state_includes_is_skipped() {
    let shots = calls(7);
    let mut mesh = Mesh::new(&settings(), 1);
    mesh.feed(&shots, 500);
    let before = mesh.judge.save();
    let again = crate::scenes::batch(&shots[..500]);
    let position = lapwing_telemetry::Position {
        partition: lapwing_telemetry::Partition(0),
        offset: lapwing_telemetry::Offset(3),
    };
    let mut out = Vec::new();
    mesh.judge.observe(position, &again, &mut out);
    assert_eq!((mesh.judge.save(), out.len(), mesh.judge.stats().late_frames), (before, 0, 1));
}
