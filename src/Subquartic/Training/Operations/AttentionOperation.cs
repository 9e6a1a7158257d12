using System.Numerics.Tensors;
using Subquartic.Attention;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Training.Operations;

/// <summary>Multi-head attention with its gradient. Weights are computed again in the backward pass instead of being kept.</summary>
public static class AttentionOperation
{
    /// <summary>o = softmax(scale Q K^T) V per head and segment.</summary>
    /// <param name="tape">The tape.</param>
    /// <param name="qkv">Queries, keys and values side by side (B * L, 3C), each with its heads side by side.</param>
    /// <param name="images">B.</param>
    /// <param name="heads">Heads; divides C.</param>
    /// <param name="scale">Factor on the scores.</param>
    /// <param name="segments">Which keys each query sees: one per scale for the transformer, one for the decoder.</param>
    /// <param name="lowRank">Computes output and gradient by polynomials where that is cheaper; null computes exactly.</param>
    /// <returns>(B * L, C), a feature map if <paramref name="qkv"/> is one.</returns>
    public static Variable Attention(
        this Tape tape, Variable qkv, int images, int heads, float scale, IReadOnlyList<AttentionSegment> segments, LowRankTraining? lowRank = null)
    {
        int width = qkv.Value.Columns / 3;
        Variable y = qkv.Batch > 0
            ? tape.NewMap(qkv.Batch, qkv.Height, qkv.Width, width, qkv.NeedsGradient)
            : tape.New(qkv.Value.Rows, width, qkv.NeedsGradient);
        HeadTensor queries = Third(qkv.Value, 0, images, heads);
        HeadTensor keys = Third(qkv.Value, 1, images, heads);
        HeadTensor values = Third(qkv.Value, 2, images, heads);
        HeadTensor output = HeadTensor.Interleaved(y.Value, images, heads);
        var input = new AttentionInput(queries, keys, values, scale);
        lowRank?.Forward(tape.Kernels, input, segments, output);
        foreach (AttentionSegment s in lowRank is null ? segments : [])
        {
            tape.Kernels.Attention(
                queries.SliceRows(s.QueryStart, s.Queries), keys.SliceRows(0, s.Keys), values.SliceRows(0, s.Keys), scale, output.SliceRows(s.QueryStart, s.Queries));
        }

        tape.Record(y, () =>
        {
            HeadTensor dOutput = HeadTensor.Interleaved(y.Gradient, images, heads);
            HeadTensor dQueries = Third(qkv.Gradient, 0, images, heads);
            HeadTensor dKeys = Third(qkv.Gradient, 1, images, heads);
            HeadTensor dValues = Third(qkv.Gradient, 2, images, heads);
            lowRank?.Backward(tape.Kernels, input, segments, dOutput, dQueries, dKeys, dValues);
            foreach (AttentionSegment s in lowRank is null ? segments : [])
            {
                tape.Kernels.AttentionGradient(
                    queries.SliceRows(s.QueryStart, s.Queries), keys.SliceRows(0, s.Keys), values.SliceRows(0, s.Keys),
                    dOutput.SliceRows(s.QueryStart, s.Queries), scale,
                    dQueries.SliceRows(s.QueryStart, s.Queries), dKeys.SliceRows(0, s.Keys), dValues.SliceRows(0, s.Keys));
            }
        });
        return y;
    }

    /// <summary>Adds biases to queries and values and, with <paramref name="logFactors"/>, brings queries and keys to length 1 and multiplies the queries of each head by
    /// exp(min(log factor, log limit)) (VAR models/basic_var.py, SelfAttention.forward).</summary>
    /// <param name="tape">The tape.</param>
    /// <param name="qkv">(B * L, 3C).</param>
    /// <param name="queryBias">(C).</param>
    /// <param name="valueBias">(C).</param>
    /// <param name="logFactors">scale_mul_1H11 (1, H, 1, 1), or null for no normalisation.</param>
    /// <param name="heads">Heads.</param>
    /// <param name="limit">Largest factor: 100 in the reference.</param>
    /// <returns>(B * L, 3C).</returns>
    public static Variable PrepareHeads(
        this Tape tape, Variable qkv, Parameter queryBias, Parameter valueBias, Parameter? logFactors, int heads, double limit)
    {
        KernelSet kernels = tape.Kernels;
        int rows = qkv.Value.Rows;
        int width = qkv.Value.Columns / 3;
        float[] factors = [.. Enumerable.Range(0, heads).Select(h => logFactors is null ? 1 : (float)Math.Exp(Math.Min(logFactors.Value.Span()[h], Math.Log(limit))))];
        Variable y = tape.New(rows, 3 * width, needsGradient: true);
        kernels.Pool.For(rows, i =>
        {
            ReadOnlySpan<float> x = qkv.Value.Row(i);
            Span<float> row = y.Value.Row(i);
            TensorPrimitives.Add(x[..width], queryBias.Value.Span(), row[..width]);
            x[width..(2 * width)].CopyTo(row[width..]);
            TensorPrimitives.Add(x[(2 * width)..], valueBias.Value.Span(), row[(2 * width)..]);
        });
        HeadTensor queryLengths = default;
        HeadTensor keyLengths = default;
        if (logFactors is not null)
        {
            queryLengths = HeadTensor.Interleaved(tape.Take(rows, heads), 1, heads);
            keyLengths = HeadTensor.Interleaved(tape.Take(rows, heads), 1, heads);
            kernels.NormalizeHeads(Third(y.Value, 0, 1, heads), factors, Third(y.Value, 0, 1, heads), queryLengths);
            kernels.NormalizeHeads(Third(y.Value, 1, 1, heads), [], Third(y.Value, 1, 1, heads), keyLengths);
        }

        tape.Record(y, () =>
        {
            if (logFactors is not null)
            {
                // The factors are f = exp(l), so dl = f df below the limit.
                Matrix along = tape.Take(rows, heads);
                kernels.NormalizeHeadsGradient(
                    Third(y.Value, 0, 1, heads), factors, queryLengths, Third(y.Gradient, 0, 1, heads), HeadTensor.Interleaved(along, 1, heads));
                kernels.NormalizeHeadsGradient(Third(y.Value, 1, 1, heads), [], keyLengths, Third(y.Gradient, 1, 1, heads), default);
                if (logFactors.Trainable)
                {
                    Matrix sums = tape.Take(1, heads);
                    sums.Span().Clear();
                    kernels.AddRows(along, sums.Span());
                    for (int h = 0; h < heads; h++)
                    {
                        logFactors.Gradient.Span()[h] += logFactors.Value.Span()[h] <= Math.Log(limit) ? sums.Span()[h] * factors[h] : 0;
                    }
                }
            }

            if (queryBias.Trainable)
            {
                kernels.AddRows(y.Gradient.SliceColumns(0, width), queryBias.Gradient.Span());
            }

            if (valueBias.Trainable)
            {
                kernels.AddRows(y.Gradient.SliceColumns(2 * width, width), valueBias.Gradient.Span());
            }

            tape.PassOn(y, qkv);
        });
        return y;
    }

    private static HeadTensor Third(Matrix qkv, int third, int images, int heads) =>
        HeadTensor.Interleaved(qkv.SliceColumns(third * (qkv.Columns / 3), qkv.Columns / 3), images, heads);
}
