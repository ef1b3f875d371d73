use super::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Runs `tasks` numbered pieces and returns how often each was done.
fn count(pool: &Pool, tasks: usize) -> Vec<usize> {
    let counts: Vec<_> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
    let mut states = vec![0; pool.workers()];
    let done = pool.run(states.iter_mut(), counts.iter(), |state, count| {
        **state += 1;
        count.fetch_add(1, Ordering::Relaxed);
        Ok::<(), ()>(())
    });
    assert_eq!(done, Ok(()));
    assert_eq!(states.iter().sum::<usize>(), tasks, "what the workers say they did");
    counts.into_iter().map(AtomicUsize::into_inner).collect()
}

#[test]
fn every_task_is_done_once() {
    for threads in [1, 2, 3, 7, 20] {
        let pool = Pool::new(threads).unwrap();
        assert_eq!(pool.workers(), threads);
        for tasks in [0, 1, 2, 3, 50, 1000] {
            assert_eq!(count(&pool, tasks), vec![1; tasks], "{threads} threads");
        }
    }
}

#[test]
fn a_hundred_thousand_tiny_runs() {
    for threads in [2, 5] {
        let pool = Pool::new(threads).unwrap();
        let mut total = 0;
        for run in 0..50_000 {
            let mut cells = [0usize; 3];
            let states = [(); 5].into_iter();
            let done = pool.run(states, cells.iter_mut(), |(), cell| {
                *cell = run;
                Ok::<(), ()>(())
            });
            assert_eq!((done, cells), (Ok(()), [run; 3]));
            total += cells.len();
        }
        assert_eq!(total, 150_000);
    }
}

#[test]
fn helpers_that_fell_asleep_are_woken() {
    let pool = Pool::new(3).unwrap();
    let slow = |_: &mut (), _| {
        thread::sleep(Duration::from_millis(30));
        Ok::<(), ()>(())
    };
    // Long pieces: however late a helper wakes up, one is left for it.
    for _ in 0..3 {
        thread::sleep(Duration::from_millis(20));
        let seen = Mutex::new(std::collections::HashSet::new());
        pool.run([(); 3].into_iter(), 0..3, |state, task| {
            lock(&seen).insert(thread::current().id());
            slow(state, task)
        })
        .unwrap();
        assert_eq!(lock(&seen).len(), 3);
    }
}

#[test]
fn the_earliest_error_is_reported() {
    let pool = Pool::new(4).unwrap();
    for _ in 0..200 {
        let done = pool.run([(); 4].into_iter(), 0..100, |(), task| {
            // The later ones fail first.
            if task == 10 {
                thread::sleep(Duration::from_micros(200));
            }
            if task >= 10 { Err(task) } else { Ok(()) }
        });
        assert_eq!(done, Err(10));
    }
}

#[test]
fn without_states_nothing_is_done() {
    let pool = Pool::new(3).unwrap();
    let done = pool.run(std::iter::empty::<()>(), 0..10, |(), task| Err(task));
    assert_eq!(done, Ok(()));
    // With one state, one worker does everything.
    let mut sum = [0];
    let done = pool.run(sum.iter_mut(), 0..10, |sum, task| {
        **sum += task;
        Ok::<(), ()>(())
    });
    assert_eq!((done, sum), (Ok(()), [45]));
}

#[test]
fn nested_and_simultaneous_runs_work() {
    let pool = Pool::new(3).unwrap();
    let done = pool.run([(); 3].into_iter(), 0..20, |(), _| {
        assert_eq!(count(&pool, 10), [1; 10]);
        Ok::<(), ()>(())
    });
    assert_eq!(done, Ok(()));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..500).for_each(|_| assert_eq!(count(&pool, 9), [1; 9])));
        }
    });
}

#[test]
fn a_panic_reaches_the_caller_and_leaves_the_pool_usable() {
    let pool = Pool::new(3).unwrap();
    let message = |panic: Box<dyn std::any::Any + Send>| *panic.downcast::<&str>().unwrap();
    let caller = thread::current().id();
    for on_caller in [true, false] {
        let run = AssertUnwindSafe(|| {
            pool.run([(); 3].into_iter(), 0..1000, |(), _| {
                thread::sleep(Duration::from_micros(100));
                assert!((thread::current().id() == caller) != on_caller, "planned");
                Ok::<(), ()>(())
            })
        });
        assert_eq!(message(catch_unwind(run).unwrap_err()), "planned");
        assert_eq!(count(&pool, 100), [1; 100]);
    }
    let tasks = (0..10).inspect(|task| assert!(*task < 5, "in the iterator"));
    let run = || pool.run([(); 3].into_iter(), tasks, |(), _| Ok::<(), ()>(()));
    assert_eq!(message(catch_unwind(AssertUnwindSafe(run)).unwrap_err()), "in the iterator");
    assert_eq!(count(&pool, 100), [1; 100]);
}

#[test]
fn dropping_ends_the_threads() {
    for pause in [0, 1, 20] {
        let pool = Pool::new(6).unwrap();
        let shared = pool.team.observe();
        count(&pool, 30);
        thread::sleep(Duration::from_millis(pause));
        drop(pool);
        assert!(shared.upgrade().is_none(), "each thread holds on to it");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    use crate::detect::Choice;
    use crate::load::LoadedModel;
    use crate::runtime::{Memory, Runtime, Settings};

    let model = LoadedModel::bundled(false).unwrap();
    let runtime = Runtime::new(&model).unwrap();
    let canvas: Vec<u32> = (20..57).collect();
    let logits = |threads| {
        let mut memory = Memory::default();
        let settings = Settings {
            canvas: canvas.len(),
            threads,
            kernels: Choice::Auto,
            needs: Default::default(),
        };
        let mut network = runtime.network(&settings, &mut memory).unwrap();
        let logits = network.logits(&canvas).unwrap();
        logits.into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    let expected = logits(1);
    for threads in [2, 3, 7, 50] {
        assert!(logits(threads) == expected, "{threads} threads");
    }
}
