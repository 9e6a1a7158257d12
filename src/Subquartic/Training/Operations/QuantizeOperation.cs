using System.Numerics.Tensors;
using Subquartic.Generation;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Training.Operations;

/// <summary>What the quantiser of a training step found.</summary>
/// <param name="FHat">The quantised feature map (B, h, w, Cvae); gradients that reach it pass on to f unchanged (straight-through).</param>
/// <param name="Tokens">Token ids, image after image, scale after scale: B * L.</param>
/// <param name="Loss">Codebook and commitment loss, summed over the scales and divided by their number.</param>
/// <param name="Sought">Per scale the vectors (B * n_k, Cvae) that codes were sought for, valid until the tape is reset.</param>
public readonly record struct Quantized(Variable FHat, int[] Tokens, double Loss, IReadOnlyList<Matrix> Sought);

/// <summary>The multi-scale residual quantiser with its losses (VAR models/quant.py, VectorQuantizer2.forward).</summary>
public static class QuantizeOperation
{
    /// <summary>Quantises f scale by scale: codes nearest to what the scales before left over, enlarged by bicubic interpolation and
    /// phi_k. Adds mean over k of beta |sg(f_k) - f|^2 + |f_k - sg(f)|^2 (means over all entries, f_k the sum of the first k scales,
    /// sg no gradient) to the loss.</summary>
    /// <param name="tape">The tape.</param>
    /// <param name="f">(B, h, w, Cvae).</param>
    /// <param name="codebook">(V, Cvae).</param>
    /// <param name="phi">Weight (Cvae, Cvae, 3, 3) and bias (Cvae) of every phi convolution.</param>
    /// <param name="phiOfScale">Which of them each scale uses.</param>
    /// <param name="share">r in phi(h) = (1 - r) h + r conv(h).</param>
    /// <param name="byAngle">Whether codes are matched by angle instead of distance.</param>
    /// <param name="scales">The token maps.</param>
    /// <param name="beta">Weight of the commitment loss: 0.25 in the reference.</param>
    /// <returns>The quantised map, tokens and loss; the gradient of the loss is added when the tape runs backward.</returns>
    public static Quantized Quantize(
        this Tape tape, Variable f, Parameter codebook, IReadOnlyList<(Parameter Weight, Parameter Bias)> phi, IReadOnlyList<int> phiOfScale, float share,
        bool byAngle, ScaleSchedule scales, double beta)
    {
        int channels = f.Value.Columns;
        int length = checked((int)f.Map.Length);
        var tokens = new int[f.Batch * scales.Tokens];
        Variable fHat = tape.NewMap(f.Batch, f.Height, f.Width, channels, f.NeedsGradient || codebook.Trainable);
        fHat.Value.Span().Clear();
        FeatureMap rest = tape.NewMap(f.Batch, f.Height, f.Width, channels, false).Map;
        var maps = new Variable[scales.Count];
        var distances = new Matrix[scales.Count];
        var sought = new Matrix[scales.Count];
        Matrix searchWeights = tape.Take(codebook.Matrix.Rows, channels);
        Matrix searchBias = tape.Take(1, codebook.Matrix.Rows);
        MultiScaleQuantizer.PrepareSearch(codebook.Matrix, byAngle, searchWeights, searchBias.Row(0));
        PackedMatrix search = PackCache.Pack(tape.Kernels, searchWeights, transposed: false);
        double loss = 0;
        for (int k = 0; k < scales.Count; k++)
        {
            TokenMapSize size = scales[k];
            FeatureMap reduced = tape.NewMap(f.Batch, size.Height, size.Width, channels, false).Map;
            TensorPrimitives.Subtract(f.Value.Span(), fHat.Value.Span(), rest.Span());
            tape.Kernels.Pool.For(f.Batch, b => Interpolation.Area(rest.Image(b), reduced.Image(b)));
            sought[k] = reduced.Pixels();
            var found = new int[f.Batch * size.Tokens];
            MultiScaleQuantizer.FindNearest(tape.Kernels, reduced.Pixels(), search, searchBias, found);
            for (int b = 0; b < f.Batch; b++)
            {
                found.AsSpan(b * size.Tokens, size.Tokens).CopyTo(tokens.AsSpan(b * scales.Tokens + scales.Start(k)));
            }

            Variable codes = tape.LookUp(codebook, found).AsMap(tape, f.Batch, size.Height, size.Width);
            Variable large = size == scales.Last ? codes : tape.Bicubic(codes, f.Height, f.Width);
            (Parameter weight, Parameter bias) = phi[phiOfScale[k]];
            maps[k] = tape.Mix(large, tape.Convolve(large, weight, bias), share);
            TensorPrimitives.Add(fHat.Value.Span(), maps[k].Value.Span(), fHat.Value.Span());

            // f_k - f: its square is both losses, and itself their gradient.
            distances[k] = tape.Take(f.Value.Rows, channels);
            TensorPrimitives.Subtract(fHat.Value.Span(), f.Value.Span(), distances[k].Span());
            loss += (1 + beta) * TensorPrimitives.SumOfSquares<float>(distances[k].Span()) / length / scales.Count;
        }

        // The record of the sum runs before those of the scales, which it gives their gradients.
        tape.Record(fHat, () =>
        {
            if (f.NeedsGradient)
            {
                TensorPrimitives.Add(f.Gradient.Span(), fHat.Gradient.Span(), f.Gradient.Span());
            }

            float unit = 2f / length / scales.Count;
            Matrix sum = tape.Take(f.Value.Rows, channels);
            sum.Span().Clear();
            for (int k = scales.Count - 1; k >= 0; k--)
            {
                if (f.NeedsGradient)
                {
                    TensorPrimitives.MultiplyAdd(distances[k].Span(), (float)-beta * unit, f.Gradient.Span(), f.Gradient.Span());
                }

                // Map k is part of f_k, f_(k+1), …, so it collects the codebook gradients of all of them.
                TensorPrimitives.MultiplyAdd(distances[k].Span(), unit, sum.Span(), sum.Span());
                tape.Accumulate(maps[k], sum);
            }
        });
        return new Quantized(fHat, tokens, loss, sought);
    }

    /// <summary>The same values seen as a feature map.</summary>
    internal static Variable AsMap(this Variable x, Tape tape, int batch, int height, int width)
    {
        Variable y = tape.NewMap(batch, height, width, x.Value.Columns, x.NeedsGradient);
        x.Value.Span().CopyTo(y.Value.Span());
        tape.Record(y, () => tape.PassOn(y, x));
        return y;
    }

    /// <summary>Bicubic enlargement.</summary>
    internal static Variable Bicubic(this Tape tape, Variable x, int height, int width)
    {
        Variable y = tape.NewMap(x.Batch, height, width, x.Value.Columns, x.NeedsGradient);
        tape.Kernels.Pool.For(x.Batch, b => Interpolation.Bicubic(x.Map.Image(b), y.Map.Image(b)));
        tape.Record(y, () =>
        {
            FeatureMap dx = x.GradientMap;
            FeatureMap dy = y.GradientMap;
            tape.Kernels.Pool.For(x.Batch, b => Interpolation.AddBicubicTransposed(dy.Image(b), dx.Image(b)));
        });
        return y;
    }

    /// <summary>(1 - share) a + share b.</summary>
    internal static Variable Mix(this Tape tape, Variable a, Variable b, float share)
    {
        Variable y = tape.Like(a, a.NeedsGradient || b.NeedsGradient);
        TensorPrimitives.Multiply(a.Value.Span(), 1 - share, y.Value.Span());
        TensorPrimitives.MultiplyAdd(b.Value.Span(), share, y.Value.Span(), y.Value.Span());
        tape.Record(y, () =>
        {
            if (a.NeedsGradient)
            {
                TensorPrimitives.MultiplyAdd(y.Gradient.Span(), 1 - share, a.Gradient.Span(), a.Gradient.Span());
            }

            if (b.NeedsGradient)
            {
                TensorPrimitives.MultiplyAdd(y.Gradient.Span(), share, b.Gradient.Span(), b.Gradient.Span());
            }
        });
        return y;
    }
}
