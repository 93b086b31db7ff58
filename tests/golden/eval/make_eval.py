"""kNN and logistic regression by scikit-learn on small random features: python make_eval.py, in this folder. Needs numpy, scikit-learn, safetensors."""
import numpy as np
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neighbors import KNeighborsClassifier

K, T, WD = 15, 0.1, 1e-2
rng = np.random.default_rng(5)
centres = rng.normal(size=(4, 10))
label = {"bank": rng.integers(0, 4, 120), "query": rng.integers(0, 4, 80)}
x = {n: (centres[y] + 1.3 * rng.normal(size=(len(y), 10))).astype(np.float32) for n, y in label.items()}
out = {n: v for n, v in x.items()} | {f"{n}_label": y.astype(np.int32) for n, y in label.items()}


def ranked(model):
    # Classes by falling share of the votes; ties to the lower class.
    return np.argsort(-model.predict_proba(x["query"]), axis=1, kind="stable").astype(np.int32)


euclidean = KNeighborsClassifier(K, weights="distance", algorithm="brute").fit(x["bank"], label["bank"])
cosine = KNeighborsClassifier(K, weights=lambda d: np.exp((1 - d) / T), metric="cosine", algorithm="brute").fit(x["bank"], label["bank"])
out["euclidean"], out["cosine"] = ranked(euclidean), ranked(cosine)

# The bias as a column of ones: weight decay is on it too.
ones = {n: np.hstack([v, np.ones((len(v), 1), np.float32)]).astype(np.float64) for n, v in x.items()}
model = LogisticRegression(C=1 / (len(ones["bank"]) * WD), fit_intercept=False, tol=1e-10, max_iter=10000).fit(ones["bank"], label["bank"])
out["logistic_loss"] = np.array([log_loss(label["bank"], model.predict_proba(ones["bank"]))])
share = {n: 100 * np.mean(model.predict(ones[n]) == label[n]) for n in label}
out["logistic_top1"] = np.array([share["query"], share["bank"]])
print({n: v for n, v in out.items() if n.startswith("logistic")}, (out["euclidean"][:, 0] == out["cosine"][:, 0]).mean())
save_file(out, "eval.safetensors")
