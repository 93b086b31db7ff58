//! The public data sets that can be fetched: where their files are, and how they are unpacked.

/// A public data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its name here.
    pub name: &'static str,
    /// Its files: the address of each, and its MD5 as the authors or torchvision publish it. The sum guards
    /// against broken transfers, not against attackers.
    pub files: &'static [(&'static str, &'static str)],
    /// What to pass to `--data`, below the folder of the download.
    pub folder: &'static str,
    /// How to unpack it; none where the files are read as they are, and lie in `folder`.
    pub unpack: Option<Unpack>,
}

/// Kinds of archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpack {
    /// `tar -xzf`
    TarGz,
    /// `unzip`
    Zip,
}

/// Sets that can be fetched. Their sums are those of torchvision's data set classes. Tiny-ImageNet's is
/// Avalanche's, since torchvision does not have that set.
pub const SETS: &[Set] = &[
    Set {
        name: "cifar10",
        files: &[(
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            "c32a1d4ab5d03f1284b67883e8d87530",
        )],
        folder: "cifar-10-batches-bin",
        unpack: Some(Unpack::TarGz),
    },
    Set {
        name: "cifar100",
        files: &[(
            "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
            "03b5dce01913d631647c71ecec9e9cb8",
        )],
        folder: "cifar-100-binary",
        unpack: Some(Unpack::TarGz),
    },
    Set {
        name: "stl10",
        files: &[(
            "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
            "91f7769df0f17e558f3565bffb0c7dfb",
        )],
        folder: "stl10_binary",
        unpack: Some(Unpack::TarGz),
    },
    Set {
        name: "tiny-imagenet",
        files: &[(
            "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
            "90528d7ca1a48142e341f4ef8d21d0de",
        )],
        folder: "tiny-imagenet-200",
        unpack: Some(Unpack::Zip),
    },
    Set {
        name: "imagenette",
        files: &[(
            "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz",
            "e793b78cc4c9e9a4ccc0c1155377a412",
        )],
        folder: "imagenette2-160",
        unpack: Some(Unpack::TarGz),
    },
    Set {
        name: "mnist",
        files: &[
            (
                "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz",
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            ),
            (
                "https://ossci-datasets.s3.amazonaws.com/mnist/train-labels-idx1-ubyte.gz",
                "d53e105ee54ea40749a09fcbcd1e9432",
            ),
            (
                "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-images-idx3-ubyte.gz",
                "9fb629c4189551a2d022fa330f9573f3",
            ),
            (
                "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-labels-idx1-ubyte.gz",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
        ],
        folder: "mnist",
        unpack: None,
    },
    Set {
        name: "fashion-mnist",
        files: &[
            (
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-images-idx3-ubyte.gz",
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            ),
            (
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz",
                "25c81989df183df01b3e8a0aad5dffbe",
            ),
            (
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-images-idx3-ubyte.gz",
                "bef4ecab320f06d8554ea6380940ec79",
            ),
            (
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-labels-idx1-ubyte.gz",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
        ],
        folder: "fashion-mnist",
        unpack: None,
    },
];
