using System.Numerics.Tensors;
using Subquartic.Adapters;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Training.Operations;

/// <summary>A linear layer with a trained low-rank change.</summary>
public static class LoraOperation
{
    /// <summary>y = x W^T + b + scale (x A^T) B^T. The change is computed from the right, so that it costs O(M (K + N) rank) in both directions; N_* of the paper
    /// (arXiv 2406.03136) is never formed.</summary>
    /// <param name="tape">The tape.</param>
    /// <param name="x">(M, K).</param>
    /// <param name="weight">W (N, K).</param>
    /// <param name="bias">b (N), or null.</param>
    /// <param name="layer">Scale, and which entries of B are trained.</param>
    /// <param name="a">A (rank, K).</param>
    /// <param name="b">B (N, rank).</param>
    /// <returns>(M, N).</returns>
    public static Variable Linear(this Tape tape, Variable x, Parameter weight, Parameter? bias, LoraLayer layer, Parameter a, Parameter b)
    {
        ArgumentNullException.ThrowIfNull(tape);
        ArgumentNullException.ThrowIfNull(layer);
        KernelSet kernels = tape.Kernels;
        int rows = x.Value.Rows;
        Variable plain = tape.Linear(x, weight, bias);
        Variable y = tape.New(rows, plain.Value.Columns, needsGradient: true);
        Matrix h = tape.Take(rows, layer.Rank);
        kernels.Gemm(x.Value, a.Packed(kernels), h);
        TensorPrimitives.Multiply(h.Span(), (float)layer.Scale, h.Span());
        kernels.Gemm(h, b.Packed(kernels), y.Value, new GemmOptions { Residual = plain.Value });

        // With h = scale x A^T:  dB = dy^T h;  dh = scale dy B;  dA = dh^T x;  dx += dh A.
        tape.Record(y, () =>
        {
            Matrix dy = y.Gradient;
            Matrix dh = tape.Take(rows, layer.Rank);
            kernels.Gemm(dy, b.Packed(kernels, transposed: true), dh);
            TensorPrimitives.Multiply(dh.Span(), (float)layer.Scale, dh.Span());
            kernels.AddProduct(dy, h, b.GradientMatrix);
            layer.KeepParts(b.Gradient.Span());
            kernels.AddProduct(dh, x.Value, a.GradientMatrix);
            if (x.NeedsGradient)
            {
                Matrix dx = x.GradientTarget(out bool add);
                kernels.Gemm(dh, a.Packed(kernels, transposed: true), dx, new GemmOptions { Residual = add ? dx : default });
            }

            tape.PassOn(y, plain);
        });
        return y;
    }
}
