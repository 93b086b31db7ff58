//! The built-in configurations, `assets/presets/`.

macro_rules! preset {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../assets/presets/", $name, ".toml")),
        )
    };
}

/// Presets: name and text.
pub const PRESETS: &[(&str, &str)] = &[
    preset!("quickstart"),
    preset!("barlow-amcl-cifar10"),
    preset!("barlow-amcl-cifar100"),
    preset!("barlow-amcl-stl10"),
    preset!("barlow-cifar10"),
    preset!("barlow-cifar100"),
    preset!("barlow-stl10"),
    preset!("byol-cifar10"),
    preset!("moco-amcl-cifar10"),
    preset!("moco-amcl-cifar100"),
    preset!("moco-amcl-stl10"),
    preset!("moco-cifar10"),
    preset!("moco-cifar100"),
    preset!("moco-stl10"),
    preset!("simclr-amcl-cifar10"),
    preset!("simclr-amcl-cifar100"),
    preset!("simclr-amcl-stl10"),
    preset!("simclr-cifar10"),
    preset!("simclr-cifar100"),
    preset!("simclr-stl10"),
    preset!("simsiam-amcl-cifar10"),
    preset!("simsiam-amcl-cifar100"),
    preset!("simsiam-amcl-stl10"),
    preset!("simsiam-cifar10"),
    preset!("simsiam-cifar100"),
    preset!("simsiam-stl10"),
    preset!("vicreg-cifar10"),
    preset!("paper-literal"),
];
