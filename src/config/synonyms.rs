//! What other programs call a setting. A wrong key is answered with the setting that is meant, not with one that is
//! merely spelt alike.

use super::Config;
use crate::settings::near;

/// Names of settings elsewhere, each with the setting here.
const SETTINGS: &[(&[&str], &str)] = &[
    (
        &[
            "learning_rate",
            "base_lr",
            "learningrate",
            "eta",
            "lr_rate",
            "init_lr",
            "max_lr",
        ],
        "optim.lr",
    ),
    (
        &[
            "temperature",
            "temp",
            "tau",
            "t",
            "nce_t",
            "softmax_temperature",
            "moco_t",
        ],
        "loss.temperature (with AMCL: amcl.tau_min, amcl.tau_max and, where nothing adapts, amcl.tau_const)",
    ),
    (
        &[
            "batch",
            "batchsize",
            "bs",
            "batch_size_per_gpu",
            "train_batch_size",
            "images_per_step",
        ],
        "optim.batch_size",
    ),
    (
        &[
            "grad_accum",
            "accumulation_steps",
            "gradient_accumulation_steps",
            "accumulate_grad_batches",
            "microbatches",
        ],
        "optim.micro_batches",
    ),
    (
        &["sync_batchnorm", "syncbn", "sync_batch_norm"],
        "model.sync_bn",
    ),
    (&["wd", "weightdecay", "l2", "decay"], "optim.weight_decay"),
    (&["optimizer", "optimiser", "opt"], "optim.name"),
    (&["adam_betas", "beta1", "beta2"], "optim.betas"),
    (&["epsilon", "adam_eps"], "optim.eps"),
    (&["trust_coefficient", "lars_eta"], "optim.trust"),
    (
        &["amp", "fp16", "bf16", "mixed_precision", "half", "dtype"],
        "optim.precision",
    ),
    (
        &[
            "clip_grad",
            "grad_clip",
            "clip_norm",
            "max_grad_norm",
            "gradient_clip_val",
            "clip_grad_norm",
        ],
        "optim.clip",
    ),
    (
        &[
            "epoch",
            "max_epochs",
            "num_epochs",
            "n_epochs",
            "total_epochs",
        ],
        "run.epochs",
    ),
    (&["random_seed", "manual_seed", "random_state"], "run.seed"),
    (&["eval_every", "eval_freq", "val_every"], "run.knn_every"),
    (
        &["k", "neighbours", "neighbors", "n_neighbors"],
        "run.knn_k",
    ),
    (
        &["save_every", "save_freq", "checkpoint_freq", "ckpt_every"],
        "run.checkpoint_every",
    ),
    (&["base_lr", "base_learning_rate"], "optim.blr"),
    (
        &["lr_decay_rate_layer", "layer_wise_decay", "llrd"],
        "optim.layer_decay",
    ),
    (&["lr_layer_wise", "layer_wise_rates"], "optim.layer_rates"),
    (
        &["min_learning_rate", "lr_min", "eta_min", "final_lr"],
        "schedule.min_lr",
    ),
    (
        &[
            "warmup",
            "warmup_epoch",
            "num_warmup_epochs",
            "warm_up",
            "warm_up_epochs",
        ],
        "schedule.warmup_epochs",
    ),
    (
        &[
            "arch",
            "architecture",
            "backbone",
            "network",
            "net",
            "encoder_name",
        ],
        "model.encoder",
    ),
    (
        &[
            "img_size",
            "imgsize",
            "image_side",
            "resolution",
            "input_size",
            "crop_size",
            "size",
        ],
        "model.image_size",
    ),
    (&["method", "algorithm", "ssl_method"], "method.name"),
    (
        &[
            "queue_size",
            "k_queue",
            "moco_k",
            "memory_bank_size",
            "num_negatives",
        ],
        "method.queue (of moco)",
    ),
    (
        &[
            "ema",
            "ema_decay",
            "moco_m",
            "momentum_teacher",
            "base_momentum",
            "tau_base",
            "teacher_momentum",
        ],
        "method.momentum (of moco and byol)",
    ),
    (
        &["lambd", "lambda_param", "lambda_"],
        "method.lambda (of barlow_twins)",
    ),
    (
        &[
            "projection_dim",
            "proj_dim",
            "out_dim",
            "output_dim",
            "embedding_dim",
            "feature_dim",
            "projector_dim",
        ],
        "heads.out",
    ),
    (
        &[
            "hidden_dim",
            "proj_hidden_dim",
            "projector_hidden_dim",
            "mlp_dim",
        ],
        "heads.hidden",
    ),
    (&["num_heads", "n_heads", "heads_count"], "heads.count"),
    (&["num_layers", "n_layers", "proj_layers"], "heads.layers"),
    (
        &[
            "dataset",
            "data_dir",
            "data_path",
            "root",
            "train_dir",
            "dataset_path",
            "folder",
        ],
        "data.path",
    ),
    (
        &["min_crop", "crop_min_scale", "crop_scale", "rrc_scale"],
        "augment.min_scale",
    ),
    (&["blur_prob", "blur"], "augment.gaussian_blur"),
    (
        &["gray_prob", "grayscale_prob", "grayscale"],
        "augment.random_gray_scale",
    ),
    (
        &["flip_prob", "hflip_prob", "horizontal_flip"],
        "augment.hf_prob",
    ),
    (&["jitter_prob", "color_jitter_prob"], "augment.cj_prob"),
    (
        &[
            "color_jitter",
            "colour_jitter",
            "jitter_strength",
            "cj_strength",
        ],
        "augment.jitter",
    ),
    (
        &["solarize_prob", "solarization", "solarize"],
        "augment.solarization_prob",
    ),
];

/// Names of sections elsewhere.
const SECTIONS: &[(&[&str], &str)] = &[
    (&["optimizer", "optimiser", "optimization", "opt"], "optim"),
    (&["training", "train", "trainer", "general"], "run"),
    (&["encoder", "backbone", "network", "arch"], "model"),
    (&["dataset", "datasets", "dataloader"], "data"),
    (
        &[
            "augmentation",
            "augmentations",
            "transform",
            "transforms",
            "aug",
        ],
        "augment",
    ),
    (&["scheduler", "lr_scheduler"], "schedule"),
    (
        &["head", "projector", "projection", "projection_head", "mlp"],
        "heads",
    ),
    (&["criterion", "losses"], "loss"),
    (&["algorithm", "ssl"], "method"),
];

/// What other programs have and this one does not, and why.
const NONE_SUCH: &[(&[&str], &str)] = &[
    (
        &[
            "num_workers",
            "workers",
            "n_workers",
            "nworkers",
            "pin_memory",
            "prefetch_factor",
            "persistent_workers",
        ],
        "there is none: images are decoded once, by all cores, and views are made on the device",
    ),
    (
        &[
            "gpus",
            "gpu",
            "devices",
            "num_gpus",
            "world_size",
            "device",
            "accelerator",
        ],
        "there is none: --device names a run's device, --devices several that share every batch",
    ),
    (
        &["drop_last"],
        "there is none: an epoch's last, incomplete batch is always left out",
    ),
    (
        &[
            "pretrained",
            "weights",
            "init",
            "checkpoint",
            "resume",
            "ckpt_path",
        ],
        "there is none: train --init FILE starts from weights, train --resume FOLDER goes on with a run",
    ),
    (
        &[
            "out",
            "output_dir",
            "save_dir",
            "log_dir",
            "work_dir",
            "exp_dir",
            "default_root_dir",
        ],
        "there is none: --out names the run's folder",
    ),
];

/// A name as the tables have it.
fn plain(name: &str) -> String {
    let name = name.trim().trim_start_matches("--");
    name.to_lowercase().replace(['-', ' '], "_")
}

fn find(tables: &[(&'static [&'static str], &'static str)], name: &str) -> Option<&'static str> {
    let name = plain(name);
    let found = tables
        .iter()
        .find(|(names, _)| names.contains(&name.as_str()));
    found.map(|f| f.1)
}

/// The section that another name stands for.
pub(super) fn section(name: &str) -> Option<&'static str> {
    find(SECTIONS, name)
}

/// What is meant by a key that there is not, in words: the same key in another section, a setting that other programs
/// call so, or why there is none. `section`: where it was given, if anywhere.
pub fn meant(section: Option<&str>, key: &str) -> Option<String> {
    let name = plain(key);
    let all = Config::keys();
    let own = section.map(|s| (self::section(s).unwrap_or(s), &all));
    // The key in the section that was meant.
    if let Some((s, all)) = own
        && Some(s) != section
        && all.contains(&format!("{s}.{name}"))
    {
        return Some(format!("did you mean {s}.{name}?"));
    }
    if let Some(setting) = find(SETTINGS, key) {
        return Some(format!("did you mean {setting}?"));
    }
    let elsewhere: Vec<&str> = all
        .iter()
        .filter_map(|k| Some((k, k.split_once('.')?)))
        .filter(|(_, (s, f))| *f == name && Some(*s) != section)
        .map(|(k, _)| k.as_str())
        .collect();
    if !elsewhere.is_empty() {
        return Some(format!("did you mean {}?", elsewhere.join(" or ")));
    }
    if let Some(why) = find(NONE_SUCH, key) {
        return Some(why.to_string());
    }
    // Without a section, any key that is spelt alike.
    let fields = || all.iter().filter_map(|k| Some(k.split_once('.')?.1));
    let spelt = near(&name, fields()).filter(|_| section.is_none())?;
    let whole = all
        .iter()
        .find(|k| k.split_once('.').is_some_and(|(_, f)| f == spelt))?;
    Some(format!("did you mean {whole}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_that_is_named_there_is() {
        let all = Config::keys();
        for (names, to) in SETTINGS {
            let key = to.split(' ').next().unwrap();
            assert!(all.iter().any(|k| k == key), "{key}");
            for name in *names {
                assert_eq!(*name, plain(name), "as the tables are searched");
            }
        }
        for (_, to) in SECTIONS {
            assert!(all.iter().any(|k| k.starts_with(&format!("{to}."))), "{to}");
        }
    }

    #[test]
    fn other_programs_names_lead_to_the_setting() {
        for (section, key, want) in [
            (Some("optim"), "learning_rate", "optim.lr"),
            (None, "lr", "optim.lr"),
            (None, "Learning-Rate", "optim.lr"),
            (Some("train"), "temperature", "loss.temperature"),
            (Some("loss"), "tau", "loss.temperature"),
            (Some("run"), "batch", "optim.batch_size"),
            (Some("optimizer"), "momentum", "optim.momentum"),
            (Some("data"), "epochs", "run.epochs"),
            (None, "wd", "optim.weight_decay"),
            (Some("model"), "arch", "model.encoder"),
            (Some("run"), "sync_batchnorm", "model.sync_bn"),
            (Some("data"), "num_workers", "there is none"),
            (None, "epocs", "run.epochs"),
        ] {
            let said = meant(section, key).unwrap_or_default();
            assert!(said.contains(want), "{section:?} {key}: {said}");
        }
        // The control: a word that nobody uses.
        assert_eq!(meant(Some("data"), "zzzzzzzz"), None);
    }
}
