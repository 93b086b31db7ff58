use super::*;
use crate::graph::States;
use crate::nn::import::Weights;
use crate::ops::batch_norm::BatchNormInference;
use crate::ops::conv2d::Conv2d;
use crate::ops::exp::Exp;
use crate::ops::global_avg_pool::GlobalAvgPool;
use crate::ops::max_pool::MaxPool;
use crate::ops::reshape::Reshape;

/// Two convolutions with a residual, for `n` images; input, features, weights.
fn network(n: usize) -> (Graph, TensorId, TensorId, Named) {
    let (mut g, mut states, mut weights) = (Graph::new(), States::new(), Named::new());
    let mut weight = |g: &mut Graph, name: &str, dims: &[usize]| {
        let shape = match *dims {
            [k, r, s, c] => vec![k, c, r, s],
            _ => dims.to_vec(),
        };
        let values = vec![0.5; dims.iter().product()];
        weights.insert(name.into(), Weights { shape, values });
        let id = states.add(crate::nn::model::PARAMS, name, TensorType::f32(dims));
        g.state(&states, id)
    };
    let images = g.input("images", TensorType::f32([n, 8, 8, 3]));
    let mut x = images;
    for (layer, c) in [("1", 3), ("2", 4)] {
        let w = weight(&mut g, &format!("conv{layer}.weight"), &[4, 3, 3, c]);
        let vectors = ["weight", "bias", "running_mean", "running_var"];
        let vectors = vectors.map(|v| weight(&mut g, &format!("bn{layer}.{v}"), &[4]));
        let residual = layer == "2";
        let norm = BatchNormInference {
            eps: 1e-5,
            relu: true,
            residual,
        };
        let conv = Conv2d {
            stride: 1,
            padding: 1,
        };
        let y = g.scope(&format!("conv{layer}"), |g| g.push1(conv, &[x, w]));
        let mut inputs = vec![y.unwrap()];
        inputs.extend(vectors);
        inputs.extend(residual.then_some(x));
        x = g
            .scope(&format!("bn{layer}"), |g| g.push1(norm, &inputs))
            .unwrap();
    }
    let features = g.push1(GlobalAvgPool, &[x]).unwrap();
    (g, images, features, weights)
}

fn written(g: &Graph, input: TensorId, output: TensorId, weights: &Named) -> Result<proto::Graph> {
    let bytes = model(g, (input, "images"), (output, "features"), weights)?;
    let file = proto::Model::decode(bytes.as_slice()).unwrap();
    assert_eq!(file.opset_import[0].version, 17);
    Ok(file.graph.unwrap())
}

fn shape(v: &proto::Value) -> Vec<String> {
    let tensor = v.kind.as_ref().and_then(|k| k.tensor.as_ref()).unwrap();
    let dims = &tensor.shape.as_ref().unwrap().dim;
    let text = |d: &proto::Dim| d.name.clone().or(d.value.map(|v| v.to_string()));
    dims.iter().map(|d| text(d).unwrap()).collect()
}

#[test]
fn convolutions_need_no_transposition_and_weights_keep_their_names() {
    let (g, images, features, weights) = network(BATCH);
    let file = written(&g, images, features, &weights).unwrap();
    let kinds: Vec<&str> = file.node.iter().map(|n| n.op_type.as_str()).collect();
    let chain = [
        "Conv",
        "BatchNormalization",
        "Relu",
        "Conv",
        "BatchNormalization",
        "Add",
        "Relu",
    ];
    assert_eq!(kinds[..7], chain);
    assert_eq!(kinds[7..], ["GlobalAveragePool", "Flatten"]);
    let names: Vec<&str> = file.node.iter().map(|n| n.name.as_str()).collect();
    assert_eq!(names[..3], ["conv1", "bn1", "bn1.relu"]);
    assert_eq!(names[4..7], ["bn2", "bn2.add", "bn2.relu"]);
    let mut kept: Vec<(&str, Vec<usize>)> = file
        .initializer
        .iter()
        .map(|t| {
            (
                t.name.as_str(),
                t.dims.iter().map(|d| *d as usize).collect(),
            )
        })
        .collect();
    kept.sort();
    let all: Vec<_> = weights
        .iter()
        .map(|(n, w)| (n.as_str(), w.shape.clone()))
        .collect();
    assert_eq!(kept, all);
    assert_eq!(shape(&file.input[0]), ["n", "3", "8", "8"]);
    assert_eq!(shape(&file.output[0]), ["n", "4"]);
    // Every value is made once, before it is read.
    let mut made: HashSet<&str> = file.initializer.iter().map(|t| t.name.as_str()).collect();
    made.insert("images");
    for node in &file.node {
        assert!(
            node.input.iter().all(|i| made.contains(i.as_str())),
            "{}",
            node.name
        );
        assert!(made.insert(&node.output[0]), "{}", node.name);
    }
    assert!(made.contains("features"));
}

#[test]
fn an_image_as_a_result_has_the_graphs_axes_and_the_input_itself_is_one() {
    let (g, images, _, weights) = network(BATCH);
    let image = g.nodes()[1].outputs[0];
    let file = written(&g, images, image, &weights).unwrap();
    let last = file.node.last().unwrap();
    assert_eq!(
        (last.op_type.as_str(), last.output[0].as_str()),
        ("Transpose", "features")
    );
    assert_eq!(last.attribute[0].ints, [0, 2, 3, 1]);
    assert_eq!(shape(&file.output[0]), ["n", "8", "8", "4"]);
    // What the result does not need is left out.
    assert!(file.node.iter().all(|n| n.op_type != "Flatten"));
    let mut g = Graph::new();
    let x = g.input("tokens", TensorType::f32([BATCH, 5]));
    let file = written(&g, x, x, &Named::new()).unwrap();
    assert_eq!(file.node[0].op_type, "Identity");
}

#[test]
fn what_cannot_be_written_is_named() {
    let (mut g, images, features, weights) = network(BATCH);
    let fault = |g: &Graph, t, weights: &Named| written(g, images, t, weights).unwrap_err();
    let exp = g.scope("phi.last", |g| g.push1(Exp { factor: 1.0 }, &[features]));
    let told = fault(&g, exp.unwrap(), &weights).to_string();
    assert_eq!(told, "exp (phi.last) has no form in ONNX");
    // The indices of a pooling have no form, the pooling has.
    let pool = MaxPool {
        kernel: 2,
        stride: 2,
        padding: 0,
    };
    let pooled = g.scope("pool", |g| g.push(pool, &[images])).unwrap();
    assert!(written(&g, images, pooled[0], &weights).is_ok());
    assert!(matches!(
        fault(&g, pooled[1], &weights),
        OnnxError::NoForm { op: "max_pool", .. }
    ));
    let twice = [BATCH, 4 * BATCH].into();
    let other = g.input("other", TensorType::f32([BATCH, 4, BATCH]));
    let open = g.push1(Reshape { shape: twice }, &[other]).unwrap();
    assert_eq!(fault(&g, open, &weights), OnnxError::Input("other".into()));
    let bytes = model(&g, (other, "x"), (open, "y"), &weights);
    assert!(matches!(bytes, Err(OnnxError::Open { op: "reshape", .. })));
    let mut less = weights.clone();
    less.remove("bn2.bias");
    assert_eq!(
        fault(&g, features, &less),
        OnnxError::Missing("bn2.bias".into())
    );
    // Filters KRSC, as ours are, instead of OIHW.
    let mut ours = weights;
    ours.get_mut("conv1.weight").unwrap().shape = vec![4, 3, 3, 3];
    assert!(
        written(&g, images, features, &ours).is_ok(),
        "the same shape"
    );
    ours.get_mut("conv2.weight").unwrap().shape = vec![4, 3, 3, 4];
    assert!(matches!(
        fault(&g, features, &ours),
        OnnxError::Weight { .. }
    ));
    let (g, images, features, weights) = network(8);
    let few = written(&g, images, features, &weights);
    assert_eq!(few, Err(OnnxError::Batch("f32[8,8,8,3]".into())));
}
