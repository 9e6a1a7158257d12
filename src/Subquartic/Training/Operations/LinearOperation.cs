using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Training.Operations;

/// <summary>The linear layer.</summary>
public static class LinearOperation
{
    /// <summary>y = x W^T + b.</summary>
    /// <param name="tape">The tape.</param>
    /// <param name="x">(M, K).</param>
    /// <param name="weight">W (N, K).</param>
    /// <param name="bias">b (N), or null.</param>
    /// <returns>(M, N).</returns>
    public static Variable Linear(this Tape tape, Variable x, Parameter weight, Parameter? bias)
    {
        ArgumentNullException.ThrowIfNull(tape);
        ArgumentNullException.ThrowIfNull(x);
        ArgumentNullException.ThrowIfNull(weight);
        KernelSet kernels = tape.Kernels;
        bool trained = weight.Trainable || bias is { Trainable: true };
        Variable y = tape.New(x.Value.Rows, weight.Matrix.Rows, x.NeedsGradient || trained);
        kernels.Gemm(x.Value, weight.Packed(kernels), y.Value, new GemmOptions { Bias = bias?.Matrix ?? default });

        // dx = dy W;  dW = dy^T x;  db = sum of the rows of dy.
        tape.Record(y, () =>
        {
            Matrix dy = y.Gradient;
            if (x.NeedsGradient)
            {
                Matrix dx = x.GradientTarget(out bool add);
                kernels.Gemm(dy, weight.Packed(kernels, transposed: true), dx, new GemmOptions { Residual = add ? dx : default });
            }

            if (weight.Trainable)
            {
                kernels.AddProduct(dy, x.Value, weight.GradientMatrix);
            }

            if (bias is { Trainable: true })
            {
                kernels.AddRows(dy, bias.Gradient.Span());
            }
        });
        return y;
    }
}
