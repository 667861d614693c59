use std::collections::HashSet;

use super::*;

type Step = fn(Phase) -> Option<Phase>;

const STEPS: &[(&str, Step)] = &[
    ("begin_upgrade", Phase::begin_upgrade),
    ("probe", Phase::probe),
    ("upgrade", Phase::upgrade),
    ("fail_upgrade", Phase::fail_upgrade),
    ("hold", Phase::hold),
    ("pass_answer", Phase::pass_answer),
    ("ask to leave", |phase| phase.ask(Ending::Leave)),
    ("ask to kick", |phase| phase.ask(Ending::Kick)),
    ("ask to close", |phase| phase.ask(Ending::Close)),
    ("release", Phase::release),
    ("leave", Phase::leave),
    ("close", Phase::close),
    ("kill", Phase::kill),
    ("finish", Phase::finish),
];

/// Every phase that any steps lead to.
fn reachable() -> HashSet<u16> {
    let mut found: HashSet<u16> = HashSet::new();
    let mut open = vec![Phase::begin(false), Phase::begin(true)];
    while let Some(phase) = open.pop() {
        if found.insert(phase.pack()) {
            open.extend(STEPS.iter().filter_map(|(_, step)| step(phase)));
        }
    }
    found
}

fn run(mut phase: Phase, steps: &[Step]) -> Phase {
    for (at, step) in steps.iter().enumerate() {
        phase = step(phase).unwrap_or_else(|| panic!("step {at} may not follow {phase:?}"));
    }
    phase
}

#[test]
fn every_phase_comes_out_of_its_bits_as_it_went_in() {
    let all = reachable();
    assert!(all.len() > 30, "{} phases", all.len());
    for bits in all {
        assert_eq!(Phase::unpack(bits).pack(), bits);
    }
}

#[test]
fn nothing_leads_to_what_cannot_be() {
    for phase in reachable().into_iter().map(Phase::unpack) {
        let is_closing = phase.is_closing() && !phase.is_closed();
        assert!(!is_closing || phase.is_on_websocket(), "{phase:?}");
        for (name, step) in STEPS {
            let Some(next) = step(phase) else { continue };
            assert!(!phase.is_on_websocket() || next.is_on_websocket(), "{name}: {phase:?}");
            assert!(!phase.is_closed() || next.is_closed(), "{name}: {phase:?}");
            assert!(!phase.is_closing() || next.is_closing(), "{name}: {phase:?}");
            assert!(!phase.is_over() || next.is_over(), "{name}: {phase:?}");
        }
    }
}

#[test]
fn a_websocket_holds_its_packets_until_the_answer_has_left() {
    let begun = Phase::begin(true);
    assert_eq!(begun.route(), Route::Held);
    assert_eq!(run(begun, &[Phase::pass_answer]).route(), Route::Direct);
}

#[test]
fn a_polling_client_gets_its_packets_behind_the_answer() {
    assert_eq!(Phase::begin(false).route(), Route::Held);
    let passed = run(Phase::begin(false), &[Phase::pass_answer]);
    assert_eq!(passed.route(), Route::Queue);
    assert_eq!(run(passed, &[Phase::hold]), Phase::begin(false), "for the next socket");
}

#[test]
fn after_an_upgrade_packets_go_straight_to_the_stream() {
    let probed = run(
        Phase::begin(false),
        &[Phase::pass_answer, Phase::begin_upgrade, Phase::probe],
    );
    assert_eq!(probed.route(), Route::Queue);
    assert_eq!(run(probed, &[Phase::upgrade]).route(), Route::Direct);
}

#[test]
fn an_answer_that_left_with_a_poll_counts_after_the_upgrade() {
    let upgraded = run(
        Phase::begin(false),
        &[Phase::begin_upgrade, Phase::pass_answer, Phase::probe, Phase::upgrade],
    );
    assert_eq!(upgraded.route(), Route::Direct);
    assert_eq!(upgraded.pass_answer(), None);
}

#[test]
fn one_upgrade_at_a_time_and_another_after_one_that_failed() {
    let begun = run(Phase::begin(false), &[Phase::begin_upgrade]);
    assert!(begun.is_upgrading());
    assert_eq!(begun.begin_upgrade(), None);
    assert_eq!(begun.upgrade(), None, "its probe was not answered");
    assert_eq!(run(begun, &[Phase::fail_upgrade]), Phase::begin(false));
    assert_eq!(Phase::begin(true).begin_upgrade(), None);
}

#[test]
fn a_goodbye_waits_for_held_packets() {
    let asked = run(Phase::begin(false), &[|phase| phase.ask(Ending::Kick)]);
    assert!(asked.is_ending() && !asked.is_closing());
    assert_eq!(asked.release(), None, "they are still held");
    let queued = run(asked, &[Phase::pass_answer]);
    assert_eq!(queued.asked(), Some(Ending::Kick));
    let leaving = run(queued, &[Phase::release, Phase::leave]);
    assert!(leaving.is_leaving());
    assert_eq!(leaving.close(), None, "there is no close frame for a poll");
}

#[test]
fn the_session_may_be_over_before_the_close_frame_has_left() {
    let closing = run(Phase::begin(true), &[Phase::pass_answer, Phase::close]);
    let over = run(closing, &[Phase::finish]);
    assert!(over.is_over() && over.is_closing() && !over.is_closed());
    assert_eq!(over.finish(), None);
    assert!(run(over, &[Phase::kill]).is_closed());
}

#[test]
fn threads_take_a_step_once() {
    let cell = PhaseCell::new(Phase::begin(false));
    let taken: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| usize::from(cell.step(Phase::finish).is_some())))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(taken, 1);
    assert!(cell.get().is_over());
}

#[test]
fn an_answer_that_comes_after_the_upgrade_lets_packets_go() {
    let upgraded = run(
        Phase::begin(false),
        &[Phase::begin_upgrade, Phase::probe, Phase::upgrade],
    );
    assert_eq!(upgraded.route(), Route::Held, "the answer is still to come");
    assert_eq!(run(upgraded, &[Phase::pass_answer]).route(), Route::Direct);
}
