//! The one linear layer that all blocks use: a matrix of any form, with or without an update.
//!
//! Shapes: x (.., in), the matrix W (out, in).

use std::fmt::Debug;
use std::rc::Rc;

use tch::{Kind, Tensor};

use crate::kernels::linear;

/// The matrix W (out, in) of a linear layer, in whatever form it is kept.
pub trait Matrix: Debug {
    /// `x W^T`: (.., out) in the dtype of `x`, differentiable in `x`.
    fn linear(&self, x: &Tensor) -> Tensor;

    /// W itself, (out, in), in `kind`: exactly what [`Matrix::linear`] multiplies by.
    fn dense(&self, kind: Kind) -> Tensor;

    /// The tensors that it is made of, without tables that all matrices of its form share.
    fn tensors(&self) -> Vec<Tensor>;

    /// The matrix made of `tensors` in the place of its own, of their sizes and dtypes, on their device.
    fn of_tensors(&self, tensors: Vec<Tensor>) -> Rc<dyn Matrix>;
}

/// A matrix that is an ordinary tensor.
#[derive(Debug)]
struct Dense(Tensor);

impl Matrix for Dense {
    fn linear(&self, x: &Tensor) -> Tensor {
        linear(x, &self.0)
    }

    fn dense(&self, kind: Kind) -> Tensor {
        self.0.to_kind(kind)
    }

    fn tensors(&self) -> Vec<Tensor> {
        vec![self.0.shallow_clone()]
    }

    fn of_tensors(&self, tensors: Vec<Tensor>) -> Rc<dyn Matrix> {
        Rc::new(Dense(tensors.into_iter().next().expect("one tensor")))
    }
}

/// A change of a matrix that is kept apart from it.
pub trait Update: Debug {
    /// `x (W + dW)^T`: (.., out) in the dtype of `x`, differentiable in `x` and in what dW is made of.
    fn apply(&self, matrix: &dyn Matrix, x: &Tensor) -> Tensor;
}

/// A linear layer without a bias. A copy shares matrix and update.
#[derive(Clone, Debug)]
pub struct Linear {
    matrix: Rc<dyn Matrix>,
    update: Option<Rc<dyn Update>>,
}

impl Linear {
    /// A layer that multiplies by this matrix.
    pub fn new(matrix: Rc<dyn Matrix>) -> Linear {
        Linear { matrix, update: None }
    }

    /// A layer that multiplies by this tensor (out, in), in the dtype of the inputs to come.
    pub fn dense(weight: Tensor) -> Linear {
        Linear::new(Rc::new(Dense(weight)))
    }

    /// The same layer with this update in place of the one it had.
    #[must_use]
    pub fn with_update(self, update: Rc<dyn Update>) -> Linear {
        Linear { update: Some(update), ..self }
    }

    /// The matrix, without the update.
    pub fn matrix(&self) -> &dyn Matrix {
        self.matrix.as_ref()
    }

    /// The matrix of a layer without an update.
    pub(super) fn into_matrix(self) -> Rc<dyn Matrix> {
        self.matrix
    }

    /// What the layer makes of `x` (.., in): (.., out) in the same dtype.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        match &self.update {
            Some(update) => update.apply(self.matrix(), x),
            None => self.matrix.linear(x),
        }
    }
}
