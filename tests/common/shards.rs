//! Tar shards and parquet files for tests.

use super::images::CLASSES;
use amcl_wgpu::data::Dataset;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An image of that folder: its path in it, its class, its bytes.
pub struct Image {
    pub path: String,
    pub class: usize,
    pub bytes: Vec<u8>,
}

/// Images of a part, in their order.
pub fn images(root: &Path, part: &str) -> Vec<Image> {
    let mut out = Vec::new();
    for (class, name) in CLASSES.iter().enumerate() {
        let folder = root.join(part).join(name);
        let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        files.sort();
        out.extend(files.into_iter().map(|f| Image {
            path: format!("{part}/{name}/{}", f.file_name().unwrap().to_str().unwrap()),
            class,
            bytes: std::fs::read(f).unwrap(),
        }));
    }
    out
}

/// A tar file of these members.
pub fn tar(file: &Path, members: &[(String, Vec<u8>)]) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let mut out = tar::Builder::new(File::create(file).unwrap());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        out.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    out.finish().unwrap();
}

/// Members of WebDataset: an image and its class's number.
pub fn samples(images: &[Image], first: usize) -> Vec<(String, Vec<u8>)> {
    let two = |(i, image): (usize, &Image)| {
        let key = format!("{:06}", first + i);
        [
            (format!("{key}.png"), image.bytes.clone()),
            (
                format!("{key}.cls"),
                format!("{}\n", image.class).into_bytes(),
            ),
        ]
    };
    images.iter().enumerate().flat_map(two).collect()
}

/// Shards of the folder: two to train on, one to test on, and the names of the classes.
pub fn shards(root: &Path, out: &Path) {
    let train = images(root, "train");
    tar(&out.join("own-train-000000.tar"), &samples(&train[..20], 0));
    tar(
        &out.join("own-train-000001.tar"),
        &samples(&train[20..], 20),
    );
    tar(
        &out.join("own-test-000000.tar"),
        &samples(&images(root, "test"), 0),
    );
    std::fs::write(out.join("classes.txt"), CLASSES.join("\n")).unwrap();
}

/// How a parquet file is written.
#[derive(Clone, Copy)]
pub struct Written {
    /// Bytes of images, in a struct or alone.
    pub in_struct: bool,
    pub compression: Compression,
    /// Rows of a row group.
    pub rows: usize,
    /// Names of the classes stand in the metadata, and labels are numbers; else they are texts.
    pub numbers: bool,
}

/// As `datasets` writes it.
pub const PLAIN: Written = Written {
    in_struct: true,
    compression: Compression::SNAPPY,
    rows: 5,
    numbers: true,
};

/// A parquet file of these images, as `datasets` writes them.
pub fn parquet(file: &Path, images: &[Image], how: Written) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let image = match how.in_struct {
        true => "optional group image { optional binary bytes; optional binary path (UTF8); }",
        false => "optional binary jpg;",
    };
    let label = match how.numbers {
        true => "optional int64 label;",
        false => "optional binary label (UTF8);",
    };
    let schema = parse_message_type(&format!("message schema {{ {image} {label} }}")).unwrap();
    let names = CLASSES.map(|c| format!("\"{c}\"")).join(", ");
    let label_type = format!(r#"{{"names": [{names}], "_type": "ClassLabel"}}"#);
    let types = format!(r#"{{"image": {{"_type": "Image"}}, "label": {label_type}}}"#);
    let features = format!(r#"{{"info": {{"features": {types}}}}}"#);
    let properties = WriterProperties::builder()
        .set_compression(how.compression)
        .set_key_value_metadata(
            how.numbers
                .then(|| vec![KeyValue::new("huggingface".into(), features)]),
        )
        .build();
    let out = File::create(file).unwrap();
    let mut out = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties)).unwrap();
    for rows in images.chunks(how.rows) {
        let mut group = out.next_row_group().unwrap();
        let bytes =
            |column: Vec<Vec<u8>>| column.into_iter().map(ByteArray::from).collect::<Vec<_>>();
        let mut texts = vec![rows.iter().map(|i| i.bytes.clone()).collect::<Vec<_>>()];
        if how.in_struct {
            texts.push(rows.iter().map(|i| i.path.clone().into_bytes()).collect());
        }
        let levels = vec![if how.in_struct { 2 } else { 1 }; rows.len()];
        for text in texts {
            let mut c = group.next_column().unwrap().unwrap();
            c.typed::<ByteArrayType>()
                .write_batch(&bytes(text), Some(&levels), None)
                .unwrap();
            c.close().unwrap();
        }
        let mut c = group.next_column().unwrap().unwrap();
        let one = vec![1; rows.len()];
        if how.numbers {
            let all: Vec<i64> = rows.iter().map(|i| i.class as i64).collect();
            c.typed::<Int64Type>()
                .write_batch(&all, Some(&one), None)
                .unwrap();
        } else {
            let all = rows
                .iter()
                .map(|i| CLASSES[i.class].as_bytes().to_vec())
                .collect();
            c.typed::<ByteArrayType>()
                .write_batch(&bytes(all), Some(&one), None)
                .unwrap();
        }
        c.close().unwrap();
        group.close().unwrap();
    }
    out.close().unwrap();
}

/// The same labels and pixels, in the same order.
pub fn alike(a: &Dataset, b: &Dataset) {
    assert_eq!((a.len(), &a.labels), (b.len(), &b.labels));
    for i in 0..a.len() {
        assert_eq!(
            a.image(i).unwrap(),
            b.image(i).unwrap(),
            "{} {}",
            a.name(i),
            b.name(i)
        );
    }
}
