using System.Collections.Concurrent;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Attention;

/// <summary>Low-rank attention for training: output and gradient of every head from polynomials where that is cheaper and meets the tolerance, otherwise exactly. The
/// counterpart of <see cref="LowRankAttention"/> for whole sequences under teacher forcing. The bounds are proved in <see cref="LowRankGradient"/>.</summary>
public sealed class LowRankTraining : IDisposable
{
    private readonly ConcurrentBag<LowRankGradient> _sequences = [];

    /// <summary>Creates the strategy.</summary>
    /// <param name="tolerance">Largest error of output and gradients as a fraction of their natural sizes: for the output the range of V; for a row of dQ the range of G.V times
    /// scale times the largest centred key; for a row of dK the same, with the query for the key, averaged as dK itself is; for dV |G|, averaged likewise. Above 0.</param>
    /// <param name="variant">Which gradient.</param>
    /// <exception cref="ArgumentOutOfRangeException">The tolerance is not positive.</exception>
    public LowRankTraining(double tolerance, GradientVariant variant)
    {
        if (!(tolerance > 0))
        {
            throw new ArgumentOutOfRangeException(nameof(tolerance), tolerance, "must be above 0");
        }

        (Tolerance, Variant) = (tolerance, variant);
    }

    /// <summary>Largest error as a fraction of natural sizes.</summary>
    public double Tolerance { get; }

    /// <summary>Which gradient.</summary>
    public GradientVariant Variant { get; }

    /// <summary>Heads whose gradient was asked for.</summary>
    public long Heads { get; private set; }

    /// <summary>Those among them that were computed exactly.</summary>
    public long ExactHeads { get; private set; }

    /// <summary>Why the last of them was.</summary>
    public string? Reason { get; private set; }

    /// <summary>Largest bounds on the gradients of heads that were not exact.</summary>
    public GradientCertificate Largest { get; private set; }

    /// <summary>Output of all heads.</summary>
    /// <param name="kernels">What exact heads are computed with, and the threads.</param>
    /// <param name="input">Q, K, V (B, H, L, c) of the whole sequence, and the scale.</param>
    /// <param name="segments">Which keys each query sees; the queries follow each other and see more and more keys.</param>
    /// <param name="output">(B, H, L, c_v), overwritten.</param>
    public void Forward(KernelSet kernels, in AttentionInput input, IReadOnlyList<AttentionSegment> segments, HeadTensor output)
    {
        ArgumentNullException.ThrowIfNull(kernels);
        var body = new ForwardBody(this, input, segments, output, new string?[input.Queries.Batch * input.Queries.Heads]);
        kernels.Pool.Run(body.Refusals.Length, ref body);
        for (int task = 0; task < body.Refusals.Length; task++)
        {
            foreach (AttentionSegment s in body.Refusals[task] is null ? [] : segments)
            {
                AttentionInput one = Head(input, task);
                kernels.Attention(
                    one.Queries.SliceRows(s.QueryStart, s.Queries), one.Keys.SliceRows(0, s.Keys), one.Values.SliceRows(0, s.Keys), input.Scale,
                    One(output, task).SliceRows(s.QueryStart, s.Queries));
            }
        }
    }

    /// <summary>Adds the gradients of all heads.</summary>
    /// <param name="kernels">What exact heads are computed with, and the threads.</param>
    /// <param name="input">Q, K, V (B, H, L, c) of the whole sequence, and the scale.</param>
    /// <param name="segments">Which keys each query sees; as in <see cref="Forward"/>.</param>
    /// <param name="dOutput">Gradient of the output (B, H, L, c_v).</param>
    /// <param name="dQueries">(B, H, L, c), added to.</param>
    /// <param name="dKeys">(B, H, L, c), added to.</param>
    /// <param name="dValues">(B, H, L, c_v), added to.</param>
    public void Backward(
        KernelSet kernels, in AttentionInput input, IReadOnlyList<AttentionSegment> segments, HeadTensor dOutput, HeadTensor dQueries, HeadTensor dKeys, HeadTensor dValues)
    {
        ArgumentNullException.ThrowIfNull(kernels);
        int heads = input.Queries.Batch * input.Queries.Heads;
        var body = new BackwardBody(
            this, input, segments, dOutput, dQueries, dKeys, dValues, new string?[heads], new GradientCertificate[heads]);
        kernels.Pool.Run(heads, ref body);
        Heads += heads;
        for (int task = 0; task < heads; task++)
        {
            if (body.Refusals[task] is not { } refusal)
            {
                GradientCertificate bound = body.Certificates[task];
                Largest = new GradientCertificate(
                    Math.Max(Largest.QueryBound, bound.QueryBound), Math.Max(Largest.KeyBound, bound.KeyBound), Math.Max(Largest.ValueBound, bound.ValueBound));
                continue;
            }

            ExactHeads++;
            Reason = refusal;
            AttentionInput one = Head(input, task);
            foreach (AttentionSegment s in segments)
            {
                kernels.AttentionGradient(
                    one.Queries.SliceRows(s.QueryStart, s.Queries), one.Keys.SliceRows(0, s.Keys), one.Values.SliceRows(0, s.Keys),
                    One(dOutput, task).SliceRows(s.QueryStart, s.Queries), input.Scale,
                    One(dQueries, task).SliceRows(s.QueryStart, s.Queries), One(dKeys, task).SliceRows(0, s.Keys), One(dValues, task).SliceRows(0, s.Keys));
            }
        }
    }

    /// <summary>Frees the working memory.</summary>
    public void Dispose()
    {
        while (_sequences.TryTake(out LowRankGradient? sequence))
        {
            sequence.Dispose();
        }
    }

    private static HeadTensor One(HeadTensor x, int task) => HeadTensor.Interleaved(x[task / x.Heads, task % x.Heads], 1, 1);

    private static AttentionInput Head(in AttentionInput input, int task) =>
        new(One(input.Queries, task), One(input.Keys, task), One(input.Values, task), input.Scale);

    /// <summary>Measures a head and chooses its degree; the same each time it is asked.</summary>
    private string? Prepare(LowRankGradient sequence, in AttentionInput input, IReadOnlyList<AttentionSegment> segments, int task)
    {
        int image = task / input.Queries.Heads, head = task % input.Queries.Heads;
        return sequence.Begin(input.Queries[image, head], input.Keys[image, head], input.Values[image, head], input.Scale, segments) ?? sequence.Choose(Tolerance);
    }

    private LowRankGradient Rent() => _sequences.TryTake(out LowRankGradient? sequence) ? sequence : new LowRankGradient();

    private readonly struct ForwardBody(
        LowRankTraining owner, AttentionInput input, IReadOnlyList<AttentionSegment> segments, HeadTensor output, string?[] refusals) : IParallelBody
    {
        public string?[] Refusals => refusals;

        public void Invoke(int task)
        {
            LowRankGradient sequence = owner.Rent();
            refusals[task] = owner.Prepare(sequence, input, segments, task);
            if (refusals[task] is null)
            {
                sequence.Forward(output[task / output.Heads, task % output.Heads]);
            }

            owner._sequences.Add(sequence);
        }
    }

    private readonly struct BackwardBody(
        LowRankTraining owner, AttentionInput input, IReadOnlyList<AttentionSegment> segments, HeadTensor dOutput, HeadTensor dQueries, HeadTensor dKeys,
        HeadTensor dValues, string?[] refusals, GradientCertificate[] certificates) : IParallelBody
    {
        public string?[] Refusals => refusals;

        public GradientCertificate[] Certificates => certificates;

        public void Invoke(int task)
        {
            LowRankGradient sequence = owner.Rent();
            refusals[task] = owner.Prepare(sequence, input, segments, task);
            if (refusals[task] is null)
            {
                int image = task / dOutput.Heads, head = task % dOutput.Heads;
                certificates[task] = sequence.Backward(dOutput[image, head], dQueries[image, head], dKeys[image, head], dValues[image, head], owner.Variant);
            }

            owner._sequences.Add(sequence);
        }
    }
}
