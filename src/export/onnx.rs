//! The encoder as ONNX (opset 17): images [n,3,s,s], normalised as in training -> features [n,d]. The messages are those of onnx.proto3
//! (<https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3>), as far as this needs them.

use super::tensor;
use crate::nn::resnet::{Block, ResNet, Stem};
use crate::run::weights::Named;
use crate::train::Result;
use prost::Message;

const FLOAT: i32 = 1;
/// `AttributeProto.AttributeType`.
const ATTR_FLOAT: i32 = 1;
const ATTR_INT: i32 = 2;
const ATTR_INTS: i32 = 7;
/// Batch norm's constant, PyTorch's default.
const EPS: f32 = 1e-5;

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(string, tag = "2")]
    producer_name: String,
    #[prost(string, tag = "3")]
    producer_version: String,
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSet>,
}

#[derive(Clone, PartialEq, Message)]
struct OperatorSet {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    node: Vec<Node>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<Value>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(float, tag = "2")]
    f: f32,
    #[prost(int64, tag = "3")]
    i: i64,
    #[prost(int64, repeated, tag = "8")]
    ints: Vec<i64>,
    #[prost(int32, tag = "20")]
    kind: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    kind: Option<Type>,
}

#[derive(Clone, PartialEq, Message)]
struct Type {
    #[prost(message, optional, tag = "1")]
    tensor: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorType {
    #[prost(int32, tag = "1")]
    elem_type: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<Dim>,
}

#[derive(Clone, PartialEq, Message)]
struct Dim {
    #[prost(int64, optional, tag = "1")]
    value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    name: Option<String>,
}

fn ints(name: &str, v: &[usize]) -> Attribute {
    Attribute {
        name: name.into(),
        ints: v.iter().map(|v| *v as i64).collect(),
        kind: ATTR_INTS,
        ..Attribute::default()
    }
}

/// A float tensor whose first dimension is the batch.
fn value(name: &str, rest: &[usize]) -> Value {
    let batch = Dim {
        value: None,
        name: Some("n".into()),
    };
    let rest = rest.iter().map(|d| Dim {
        value: Some(*d as i64),
        name: None,
    });
    Value {
        name: name.into(),
        kind: Some(Type {
            tensor: Some(TensorType {
                elem_type: FLOAT,
                shape: Some(Shape {
                    dim: std::iter::once(batch).chain(rest).collect(),
                }),
            }),
        }),
    }
}

/// Appends nodes; an activation goes by its name.
struct Writer<'a> {
    weights: &'a Named,
    graph: Graph,
}

impl Writer<'_> {
    fn node(
        &mut self,
        kind: &str,
        name: &str,
        input: Vec<String>,
        attribute: Vec<Attribute>,
    ) -> String {
        let output = format!("{name}.y");
        self.graph.node.push(Node {
            input,
            output: vec![output.clone()],
            name: name.into(),
            op_type: kind.into(),
            attribute,
        });
        output
    }

    fn weight(&mut self, name: &str) -> Result<String> {
        let w = tensor(self.weights, name)?;
        self.graph.initializer.push(Tensor {
            dims: w.shape.iter().map(|d| *d as i64).collect(),
            data_type: FLOAT,
            name: name.into(),
            raw_data: w.values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        });
        Ok(name.into())
    }

    fn conv(&mut self, name: &str, x: String, kernel: usize, stride: usize) -> Result<String> {
        let w = self.weight(&format!("{name}.weight"))?;
        let a = vec![
            ints("kernel_shape", &[kernel; 2]),
            ints("strides", &[stride; 2]),
            ints("pads", &[kernel / 2; 4]),
        ];
        Ok(self.node("Conv", name, vec![x, w], a))
    }

    fn batch_norm(&mut self, name: &str, x: String) -> Result<String> {
        let mut input = vec![x];
        for part in ["weight", "bias", "running_mean", "running_var"] {
            input.push(self.weight(&format!("{name}.{part}"))?);
        }
        let eps = Attribute {
            name: "epsilon".into(),
            f: EPS,
            kind: ATTR_FLOAT,
            ..Attribute::default()
        };
        Ok(self.node("BatchNormalization", name, input, vec![eps]))
    }

    fn relu(&mut self, name: &str, x: String) -> String {
        self.node("Relu", &format!("{name}.relu"), vec![x], vec![])
    }

    fn block(&mut self, net: &ResNet, name: &str, x: String, stride: usize) -> Result<String> {
        let layers: &[(usize, usize)] = match net.block {
            Block::Basic => &[(3, stride), (3, 1)],
            Block::Bottleneck => &[(1, 1), (3, stride), (1, 1)],
        };
        let mut y = x.clone();
        for (i, (kernel, stride)) in layers.iter().enumerate() {
            y = self.conv(&format!("{name}.conv{}", i + 1), y, *kernel, *stride)?;
            let bn = format!("{name}.bn{}", i + 1);
            y = self.batch_norm(&bn, y)?;
            if i + 1 < layers.len() {
                y = self.relu(&bn, y);
            }
        }
        let down = format!("{name}.downsample");
        let short = if self.weights.contains_key(&format!("{down}.0.weight")) {
            let s = self.conv(&format!("{down}.0"), x, 1, stride)?;
            self.batch_norm(&format!("{down}.1"), s)?
        } else {
            x
        };
        let sum = self.node("Add", &format!("{name}.add"), vec![y, short], vec![]);
        Ok(self.relu(name, sum))
    }
}

/// The model as bytes.
///
/// # Errors
/// Weights that the network lacks.
pub fn model(net: &ResNet, weights: &Named, size: usize) -> Result<Vec<u8>> {
    let mut w = Writer {
        weights,
        graph: Graph {
            name: "encoder".into(),
            input: vec![value("images", &[3, size, size])],
            output: vec![value("features", &[net.features()])],
            ..Graph::default()
        },
    };
    let (kernel, stride) = match net.stem {
        Stem::Small(stride) => (3, stride),
        Stem::ImageNet => (7, 2),
    };
    let x = w.conv("conv1", "images".into(), kernel, stride)?;
    let x = w.batch_norm("bn1", x)?;
    let mut x = w.relu("bn1", x);
    if net.stem == Stem::ImageNet {
        let a = vec![
            ints("kernel_shape", &[3; 2]),
            ints("strides", &[2; 2]),
            ints("pads", &[1; 4]),
        ];
        x = w.node("MaxPool", "maxpool", vec![x], a);
    }
    for (stage, count) in net.blocks.iter().enumerate() {
        for block in 0..*count {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            x = w.block(net, &format!("layer{}.{block}", stage + 1), x, stride)?;
        }
    }
    let x = w.node("GlobalAveragePool", "avgpool", vec![x], vec![]);
    let axis = Attribute {
        name: "axis".into(),
        i: 1,
        kind: ATTR_INT,
        ..Attribute::default()
    };
    w.node("Flatten", "flatten", vec![x], vec![axis]);
    if let Some(last) = w.graph.node.last_mut() {
        last.output = vec!["features".into()];
    }
    Ok(Model {
        ir_version: 8,
        producer_name: "amcl-wgpu".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(w.graph),
        opset_import: vec![OperatorSet {
            domain: String::new(),
            version: 17,
        }],
    }
    .encode_to_vec())
}
