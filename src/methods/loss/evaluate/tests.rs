//! Tests of [`super`].

use super::*;

fn array(rows: usize, d: usize, seed: usize) -> Array {
    let value = |i: usize| ((i * 37 + seed) % 41) as f64 / 20.0 - 1.0;
    Array::new(&[rows, d], (0..rows * d).map(value))
}

/// A gradient is the difference quotient of the loss; another temperature's is not.
#[test]
fn gradients_are_those_of_the_loss() {
    let (z1, z2) = (array(5, 4, 3), array(5, 4, 20));
    let at = |z1: &Array, tau: f64| {
        let inputs = [("z1", z1), ("z2", &z2)];
        evaluate(&Loss::nt_xent(tau), &inputs, &Choice::Cpu).unwrap()
    };
    let h = 1e-5;
    let moved = |by: f64| {
        let mut z = z1.clone();
        z.values[6] += by;
        at(&z, 0.3).loss
    };
    let quotient = (moved(h) - moved(-h)) / (2.0 * h);
    let gradient = |tau: f64| at(&z1, tau).gradients["z1"].values[6];
    // The quotient's own error is of the order of h^2.
    assert!((gradient(0.3) - quotient).abs() < 1e-8, "{quotient}");
    assert!((gradient(0.4) - quotient).abs() > 1e-3);
}

#[test]
fn what_is_wrong_with_an_input_is_said() {
    let z = array(4, 3, 0);
    let said = |loss: Loss, inputs: &[(&str, &Array)]| {
        let e = evaluate(&loss, inputs, &Choice::Cpu).unwrap_err();
        assert!(matches!(e, LossError::Input(_)), "{e}");
        e.to_string()
    };
    let e = said(Loss::nt_xent(0.5), &[("z1", &z)]);
    assert!(e.contains("`z2`"), "{e}");
    let e = said(Loss::nt_xent(-0.5), &[("z1", &z), ("z2", &z)]);
    assert!(e.contains("-0.5, not positive"), "{e}");
    let wide = array(4, 5, 0);
    let e = said(Loss::moco(0.1), &[("q", &z), ("k", &wide), ("queue", &z)]);
    assert!(
        e.contains("`q` has shape [4, 3]") && e.contains("`k` [4, 5]"),
        "{e}"
    );
    let e = said(Loss::moco(0.1), &[("q", &z), ("k", &z), ("queue", &wide)]);
    assert!(e.contains("[1, K, 3]"), "{e}");
    let short = Array::new(&[4, 3], [0.0; 11]);
    let e = said(
        Loss::BarlowTwins {
            lambda: 5e-3,
            standardize: Deviation::BatchNorm,
        },
        &[("z1", &short), ("z2", &z)],
    );
    assert!(e.contains("11 values") && e.contains("12"), "{e}");
    let a = Amcl {
        kappa: 0,
        ..Amcl::default()
    };
    let heads = Array::new(&[1, 4, 3], z.values.iter().copied());
    let e = said(Loss::AmclNtXent(a), &[("z", &heads)]);
    assert!(e.contains("kappa"), "{e}");
}

/// BYOL's loss and VICReg's by their definitions; gradients by difference quotients.
#[test]
fn byol_and_vicreg_equal_their_definitions() {
    let [p1, z1, p2, z2] = [3, 20, 11, 31].map(|seed| array(5, 4, seed));
    let cosine = |x: &Array, y: &Array| -> f64 {
        let rows = x.values.chunks(4).zip(y.values.chunks(4));
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let each = rows.map(|(a, b)| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt());
        each.sum::<f64>() / 5.0
    };
    let byol = |p1: &Array| {
        let inputs = [("p1", p1), ("z1", &z1), ("p2", &p2), ("z2", &z2)];
        evaluate(&Loss::Byol, &inputs, &Choice::Cpu).unwrap()
    };
    let want = 4.0 - 2.0 * cosine(&p1, &z2) - 2.0 * cosine(&p2, &z1);
    assert!((byol(&p1).loss - want).abs() < 1e-6 * want);
    assert!((byol(&p2).loss - want).abs() > 1e-2);
    assert_eq!(byol(&p1).gradients.keys().collect::<Vec<_>>(), ["p1", "p2"]);
    let weights = [25.0, 25.0, 1.0];
    let vicreg = |z1: &Array| {
        let inputs = [("z1", z1), ("z2", &z2)];
        evaluate(&Loss::VicReg { weights }, &inputs, &Choice::Cpu).unwrap()
    };
    let h = 1e-5;
    let moved = |of: &dyn Fn(&Array) -> Evaluated, x: &Array, by: f64| {
        let mut x = x.clone();
        x.values[6] += by;
        of(&x).loss
    };
    for (of, x, name) in [
        (&byol as &dyn Fn(&Array) -> Evaluated, &p1, "p1"),
        (&vicreg, &z1, "z1"),
    ] {
        let quotient = (moved(of, x, h) - moved(of, x, -h)) / (2.0 * h);
        let got = of(x).gradients[name].values[6];
        // Constants of the graph are f32: relative errors of 1e-7.
        assert!(
            (got - quotient).abs() < 1e-6 * quotient.abs().max(1.0),
            "{name}: {got} {quotient}"
        );
        assert!(quotient.abs() > 1e-3);
    }
}
