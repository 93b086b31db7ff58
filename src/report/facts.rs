//! What a report shows, read from a run's files and, where there is an encoder, from its features.

use crate::config::Config;
use crate::data::{Dataset, Split};
use crate::downstream::Result;
use crate::eval::attention;
use crate::eval::features::Embedder;
use crate::eval::knn::{self, Bank, Distance, Vote};
use crate::eval::pca;
use crate::eval::sheet::{self, png};
use crate::graph::host::HostExecutor;
use crate::run::folder::RECONSTRUCTIONS;
use crate::run::io;
use image::RgbImage;
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Rows of the sheet of views, and of attention.
const VIEWS: usize = 6;
/// Queries whose neighbours are shown.
const QUERIES: usize = 8;
/// Neighbours of each query.
const NEIGHBOURS: usize = 8;
/// Training images that are searched at most. A page illustrates; `eval knn` evaluates on all.
const MOST_BANK: usize = 20_000;
/// Test images that are searched for at most.
const MOST_TEST: usize = 2_000;

/// A picture and its caption.
pub struct Picture {
    /// The picture as PNG.
    pub png: Vec<u8>,
    /// Class.
    pub class: String,
    /// Cosine similarity to the query. None for the query itself.
    pub similarity: Option<f32>,
}

/// What the encoder sees.
pub struct Seen {
    /// Sheet of views as PNG.
    pub sheet: Vec<u8>,
    /// For each row of the sheet: the image's name and what was drawn for its two views.
    pub rows: Vec<[String; 3]>,
    /// What the class token looks at, where the encoder has one.
    pub attention: Option<attention::Picture>,
    /// Queries, each followed by its nearest training images.
    pub near: Vec<Vec<Picture>>,
    /// Test features on two principal components, with their classes.
    pub points: Vec<(f64, f64, u32)>,
    /// Confusion matrix: a row for each class, a column for each prediction.
    pub confusion: Vec<Vec<usize>>,
    /// Classes.
    pub classes: Vec<String>,
    /// kNN accuracy on the images that are shown, percent, and its protocol.
    pub knn: Option<(f64, String)>,
}

/// How a run stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// No end is recorded.
    UnderWay,
    /// Interrupted or failed. The log's last line says why.
    Stopped(String),
    /// Went to its end.
    Finished,
}

/// Records of a file of JSON lines that grows.
#[derive(Debug, Default)]
struct Records {
    all: Vec<Value>,
    /// Bytes of the file that they are.
    read: u64,
}

impl Records {
    /// Adds the records that are new; a line that is still being written is left for the next time. A file that has
    /// become shorter is another one, and is read from its start.
    fn read_on(&mut self, path: &Path) {
        let Ok(mut file) = File::open(path) else {
            return;
        };
        if file.metadata().is_ok_and(|m| m.len() < self.read) {
            *self = Self::default();
        }
        let mut bytes = Vec::new();
        if file.seek(SeekFrom::Start(self.read)).is_err() || file.read_to_end(&mut bytes).is_err() {
            return;
        }
        // By bytes: a damaged line, which need not be text, takes no other line with it.
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            let record = serde_json::from_slice(line);
            if record.is_err() && !line.ends_with(b"\n") {
                break;
            }
            self.read += line.len() as u64;
            self.all.extend(record);
        }
    }
}

/// Everything on the page.
pub struct Facts {
    /// The run's folder name.
    pub name: String,
    /// Its folder, as it was named.
    pub run: String,
    /// Configuration, resolved.
    pub config: Config,
    /// The same as text.
    pub config_text: String,
    /// `summary.json`, once the run has ended.
    pub summary: Option<Value>,
    /// `environment.json`: machine, device, memory plan, times before the first step.
    pub environment: Value,
    records: Records,
    /// `eval-similarity.json`, where the test split's pairs were evaluated.
    pub similarity: Option<Value>,
    /// `log.txt`.
    pub log: String,
    /// Time by op of a profiled step: op, calls, milliseconds.
    pub ops: Vec<(String, usize, f64)>,
    /// What the network makes of hidden patches, as a PNG file; none for methods that predict none.
    pub reconstructions: Option<Vec<u8>>,
    /// What the encoder sees.
    pub seen: Option<Seen>,
}

impl Facts {
    /// Reads a run folder.
    ///
    /// # Errors
    /// No run there.
    pub fn read(run: &Path) -> Result<Self> {
        Self::after(run, Records::default())
    }

    /// The same run as it stands now: of its records only the new ones are read.
    ///
    /// # Errors
    /// As [`Facts::read`].
    pub fn refreshed(self, run: &Path) -> Result<Self> {
        Self::after(run, self.records)
    }

    fn after(run: &Path, mut records: Records) -> Result<Self> {
        let path = run.join("config.toml");
        let config_text = std::fs::read_to_string(&path).map_err(io(&path))?;
        let text = |name: &str| std::fs::read_to_string(run.join(name)).unwrap_or_default();
        let whole = std::fs::canonicalize(run).unwrap_or_else(|_| run.into());
        records.read_on(&run.join("metrics.jsonl"));
        Ok(Self {
            name: whole
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default(),
            run: run.to_string_lossy().into_owned(),
            config: Config::parse(&config_text, &[])?,
            config_text,
            summary: serde_json::from_str(&text("summary.json")).ok(),
            environment: serde_json::from_str(&text("environment.json")).unwrap_or_default(),
            records,
            similarity: serde_json::from_str(&text("eval-similarity.json")).ok(),
            log: text("log.txt"),
            ops: ops(&text("trace.json")),
            reconstructions: std::fs::read(run.join(RECONSTRUCTIONS)).ok(),
            seen: None,
        })
    }

    /// How the run stands. Where a run ended early, the last line of its log says so.
    pub fn state(&self) -> State {
        let last = self.log.lines().last().unwrap_or_default();
        if self.summary.is_some() {
            State::Finished
        } else if last.starts_with("stopped at ") || last.contains("The last good checkpoint is in")
        {
            State::Stopped(last.into())
        } else {
            State::UnderWay
        }
    }

    /// Records of a kind.
    pub fn of(&self, kind: &str) -> impl Iterator<Item = &Value> + Clone {
        let kind = kind.to_string();
        self.records
            .all
            .iter()
            .filter(move |r| r["kind"] == kind.as_str())
    }

    /// Alarms in order, with their epochs.
    pub fn alarms(&self) -> Vec<(u64, &str)> {
        let of = |r: &'_ Value| r["epoch"].as_u64();
        self.records
            .all
            .iter()
            .filter(|r| r["kind"] == "epoch")
            .flat_map(|r| {
                let list = r["alarms"].as_array().into_iter().flatten();
                list.filter_map(move |a| Some((of(r)?, a.as_str()?)))
            })
            .collect()
    }

    /// What the class token looks at, where that was asked of an encoder that has one.
    pub fn attention(&self) -> Option<&attention::Picture> {
        self.seen.as_ref()?.attention.as_ref()
    }

    /// Adds what the encoder sees.
    ///
    /// # Errors
    /// Device loss.
    pub fn inspect(&mut self, encoder: &mut dyn Embedder, split: &Split) -> Result<()> {
        let few = |d: &Dataset, most: usize| d.select(&spaced(d.len(), most));
        let sheet = sheet::sheet(
            &self.config.augment,
            (self.config.model.image_size, self.config.run.seed, 0),
            &few(&split.train, VIEWS),
            VIEWS,
            &mut HostExecutor::<f32>::new(),
        )?;
        let mut seen = Seen {
            sheet: sheet.png()?,
            rows: sheet.rows,
            attention: encoder.attention(&looked_at(split))?,
            near: Vec::new(),
            points: Vec::new(),
            confusion: Vec::new(),
            classes: split.classes.clone(),
            knn: None,
        };
        if split.unmeasured().is_none() {
            let bank = few(split.bank(), MOST_BANK);
            let test = few(&split.test, MOST_TEST);
            let b = encoder.embed(&bank)?;
            let t = encoder.embed(&test)?;
            let r = &self.config.run;
            let vote = Vote {
                k: r.knn_k,
                t: r.knn_t,
                distance: Distance::Cosine,
            };
            let known = Bank {
                features: &b,
                labels: &bank.labels,
            };
            let ranked = encoder.rank(&t, known, split.classes.len(), vote)?;
            self.compare(&mut seen, &ranked, encoder.dim(), (&bank, &b), (&test, &t))?;
        }
        self.seen = Some(seen);
        Ok(())
    }

    fn compare(
        &self,
        seen: &mut Seen,
        ranked: &[u32],
        d: usize,
        (bank, b): (&Dataset, &[f32]),
        (test, t): (&Dataset, &[f32]),
    ) -> Result<()> {
        let (classes, r) = (seen.classes.len(), &self.config.run);
        seen.confusion = vec![vec![0; classes]; classes];
        for (p, l) in ranked.chunks(classes).zip(&test.labels) {
            seen.confusion[*l as usize][p[0] as usize] += 1;
        }
        seen.knn = Some((
            knn::top(ranked, &test.labels, 1),
            format!(
                "k={} t={} on {} test images, bank of {}",
                r.knn_k.min(bank.len()),
                r.knn_t,
                test.len(),
                bank.len()
            ),
        ));
        seen.points = pca::two(t, d)
            .into_iter()
            .zip(&test.labels)
            .map(|((x, y), l)| (x, y, *l))
            .collect();
        let queries = of_all_classes(&test.labels, classes, QUERIES);
        let chosen: Vec<f32> = queries
            .iter()
            .flat_map(|i| t[i * d..(i + 1) * d].iter().copied())
            .collect();
        let s = knn::cosines(&chosen, b, d);
        let class = |l: u32| seen.classes[l as usize].clone();
        for (row, query) in s.chunks(bank.len()).zip(&queries) {
            let mut order: Vec<usize> = (0..bank.len()).collect();
            order.sort_by(|a, b| row[*b].total_cmp(&row[*a]).then(a.cmp(b)));
            let mut pictures = vec![Picture {
                png: picture(test, *query)?,
                class: class(test.labels[*query]),
                similarity: None,
            }];
            for i in order.into_iter().take(NEIGHBOURS) {
                pictures.push(Picture {
                    png: picture(bank, i)?,
                    class: class(bank.labels[i]),
                    similarity: Some(row[i]),
                });
            }
            seen.near.push(pictures);
        }
        Ok(())
    }
}

/// Images whose attention is shown: of all classes where the test split has labels, else evenly spaced.
fn looked_at(split: &Split) -> Dataset {
    let data = if split.test.is_empty() {
        &split.train
    } else {
        &split.test
    };
    let chosen = match split.unmeasured() {
        None => of_all_classes(&data.labels, split.classes.len(), VIEWS),
        Some(_) => spaced(data.len(), VIEWS),
    };
    data.select(&chosen)
}

/// At most `most` of `n` numbers, evenly spaced.
fn spaced(n: usize, most: usize) -> Vec<usize> {
    let count = n.min(most);
    (0..count).map(|i| i * n / count).collect()
}

/// The indices of at most `most` images. Classes evenly spaced over all give an image in turn.
fn of_all_classes(labels: &[u32], classes: usize, most: usize) -> Vec<usize> {
    let mut by_class = vec![Vec::new(); classes];
    for (i, l) in labels.iter().enumerate() {
        by_class[*l as usize].push(i);
    }
    by_class.retain(|c| !c.is_empty());
    let chosen: Vec<&Vec<usize>> = spaced(by_class.len(), most)
        .into_iter()
        .map(|c| &by_class[c])
        .collect();
    let rounds = chosen.iter().map(|c| c.len()).max().unwrap_or(0);
    let mut out: Vec<usize> = (0..rounds)
        .flat_map(|round| chosen.iter().filter_map(move |c| c.get(round).copied()))
        .take(most)
        .collect();
    // Images of one class stand together.
    out.sort_by_key(|i| labels[*i]);
    out
}

fn picture(data: &Dataset, i: usize) -> Result<Vec<u8>> {
    let (pixels, (height, width)) = data.picture(i)?;
    let image = RgbImage::from_raw(width as u32, height as u32, pixels.into_owned());
    image.map_or(Ok(Vec::new()), |image| Ok(png(&image)?))
}

/// Sums a Perfetto trace by op.
fn ops(trace: &str) -> Vec<(String, usize, f64)> {
    let v: Value = serde_json::from_str(trace).unwrap_or_default();
    let mut by_op: std::collections::BTreeMap<String, (usize, f64)> = Default::default();
    for e in v["traceEvents"].as_array().into_iter().flatten() {
        let (Some(name), Some(us)) = (e["name"].as_str(), e["dur"].as_f64()) else {
            continue;
        };
        let op = name.split(' ').next().unwrap_or_default().to_string();
        let sum = by_op.entry(op).or_default();
        sum.0 += 1;
        sum.1 += us / 1e3;
    }
    let mut rows: Vec<_> = by_op.into_iter().map(|(o, (n, ms))| (o, n, ms)).collect();
    rows.sort_by(|a, b| b.2.total_cmp(&a.2));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_once_and_a_torn_line_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut records = Records::default();
        records.read_on(&path);
        assert!(records.all.is_empty());
        let mut after = |text: &str| -> Vec<u64> {
            std::fs::write(&path, text).unwrap();
            records.read_on(&path);
            records.all.iter().filter_map(|r| r["n"].as_u64()).collect()
        };
        assert_eq!(after("{\"n\":1}\nno record\n{\"n\":2"), [1]);
        // What has been read is not read again: the first record stays what it was.
        assert_eq!(
            after("{\"n\":9}\nno record\n{\"n\":2}\n{\"n\":3}"),
            [1, 2, 3]
        );
        assert_eq!(
            after("{\"n\":9}\nno record\n{\"n\":2}\n{\"n\":3}\n"),
            [1, 2, 3]
        );
        // A shorter file is another run's.
        assert_eq!(after("{\"n\":4}\n"), [4]);
    }

    #[test]
    fn queries_come_from_all_classes() {
        let labels: Vec<u32> = (0..1000).map(|i| i % 10).collect();
        let q = of_all_classes(&labels, 10, 8);
        let mut seen: Vec<u32> = q.iter().map(|i| labels[*i]).collect();
        seen.dedup();
        assert_eq!((q.len(), seen.len()), (8, 8));
        // Few classes, one of them without test images: more of each.
        let q = of_all_classes(&[0, 2, 0, 2, 0], 3, 4);
        assert_eq!(q, [0, 2, 1, 3]);
        assert_eq!(of_all_classes(&[0, 0], 1, 8), [0, 1]);
    }
}
