using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Attention;

/// <summary>The paper's fast attention: exp is replaced by a polynomial of the score, so that O = D^-1 A V becomes a product of
/// features, in O((L + S) r c_v) with r = C(c + g, g) features instead of O(L S c) (Alman and Song, arXiv 2302.13214; Ke et al.,
/// arXiv 2501.04377, for VAR). Every result meets the tolerance or is computed exactly, head by head and row by row.</summary>
/// <remarks>The degree g is chosen from the data: the cheapest one, counting the rows that would have to be exact; when none is
/// cheaper than exact attention, the head is computed exactly and the certificate says so. The bound is proved in
/// <see cref="LowRankHead"/>.</remarks>
public sealed class LowRankAttention : IAttention, IDisposable
{
    private readonly KernelSet _kernels;
    private readonly LowRankScratch _scratch = new();
    private readonly LowRankHead _head;

    /// <summary>Creates the strategy with all reductions.</summary>
    /// <param name="kernels">The kernels that compute.</param>
    /// <param name="tolerance">Largest error of any output entry, as a fraction of the range of V; above 0.</param>
    /// <exception cref="ArgumentOutOfRangeException">The tolerance is not positive.</exception>
    public LowRankAttention(KernelSet kernels, double tolerance)
        : this(kernels, new LowRankOptions { Tolerance = tolerance })
    {
    }

    /// <summary>Creates the strategy.</summary>
    /// <param name="kernels">The kernels that compute.</param>
    /// <param name="options">Tolerance and reductions.</param>
    /// <exception cref="ArgumentOutOfRangeException">The tolerance is not positive.</exception>
    public LowRankAttention(KernelSet kernels, LowRankOptions options)
    {
        ArgumentNullException.ThrowIfNull(kernels);
        ArgumentNullException.ThrowIfNull(options);
        if (!(options.Tolerance > 0))
        {
            throw new ArgumentOutOfRangeException(nameof(options), options.Tolerance, "the tolerance must be above 0");
        }

        _kernels = kernels;
        Options = options;
        _head = new LowRankHead(kernels, options, _scratch);
    }

    /// <inheritdoc/>
    public string Name => "low-rank";

    /// <summary>Tolerance and reductions.</summary>
    public LowRankOptions Options { get; }

    /// <summary>What was found out about the last head of the last call.</summary>
    public LowRankDiagnosis Diagnosis => _head.Diagnosis;

    /// <inheritdoc/>
    /// <remarks>One call at a time. The bound covers all heads and rows, those computed exactly with their rounding.</remarks>
    public Certificate Attend(in AttentionInput input, HeadTensor output) => Attend(input, output, null);

    /// <summary>A cache of moments for one layer.</summary>
    /// <returns>The cache; it ends before this strategy does.</returns>
    public LowRankSequence CreateSequence() => new(this);

    /// <inheritdoc/>
    IAttentionSequence IAttention.CreateSequence() => CreateSequence();

    /// <summary>Frees the working memory.</summary>
    public void Dispose() => _scratch.Dispose();

    /// <summary>A head that keeps its moments from call to call.</summary>
    internal LowRankHead CreateHead() => new(_kernels, Options, _scratch);

    /// <summary>Computes attention, with heads that know the keys of earlier calls or with one that knows none.</summary>
    internal Certificate Attend(in AttentionInput input, HeadTensor output, LowRankHead[]? states)
    {
        int heads = input.Queries.Batch * input.Queries.Heads;
        double bound = 0;
        int absorbed = Math.Min(input.Keys.Rows, states?.Max(state => state.Absorbed) ?? 0);
        if (LowRankHead.TooFew(input.Queries.Rows, input.Keys.Rows, absorbed, input.Keys.Width, input.Values.Width, Options) is { } few)
        {
            AttendExactly(input, output, ref bound);
            long all = (long)heads * input.Queries.Rows;
            return new Certificate(bound, AttentionPath.Exact, few, heads, heads, all, all);
        }

        int exactHeads = 0;
        long exactRows = 0;
        string reason = "";
        LowRankDiagnosis last = default;
        for (int b = 0; b < input.Queries.Batch; b++)
        {
            for (int h = 0; h < input.Queries.Heads; h++)
            {
                var one = new AttentionInput(Head(input.Queries, b, h), Head(input.Keys, b, h), Head(input.Values, b, h), input.Scale);
                LowRankHead head = states?[(b * input.Queries.Heads) + h] ?? _head;
                if (states is null)
                {
                    head.Clear();
                }

                string? refusal = head.Attend(input.Queries[b, h], input.Keys[b, h], input.Values[b, h], input.Scale, output[b, h]);
                if (refusal is null)
                {
                    bound = Math.Max(bound, head.ErrorBound);
                    exactRows += _scratch.ExactRows.Count;
                    last = head.Diagnosis;
                    AttendRowsExactly(one, output[b, h], ref bound);
                }
                else
                {
                    reason = refusal;
                    exactRows += input.Queries.Rows;
                    exactHeads++;
                    AttendExactly(one, HeadTensor.Interleaved(output[b, h], 1, 1), ref bound);
                }
            }
        }

        AttentionPath path = exactHeads == heads ? AttentionPath.Exact : exactRows == 0 ? AttentionPath.LowRank : AttentionPath.LowRankWithExactRows;
        return new Certificate(
            bound, path, exactHeads > 0 ? reason : $"degree {last.Degree}, {last.Features} features",
            heads, exactHeads, (long)heads * input.Queries.Rows, exactRows);

        static HeadTensor Head(HeadTensor x, int image, int head) => HeadTensor.Interleaved(x[image, head], 1, 1);
    }

    private void AttendRowsExactly(in AttentionInput input, Matrix output, ref double bound)
    {
        List<int> rows = _scratch.ExactRows;
        if (rows.Count == 0)
        {
            return;
        }

        Matrix queries = input.Queries[0, 0];
        using Scratch scratch = Scratch.Rent((long)rows.Count * (queries.Columns + output.Columns));
        Matrix gathered = scratch.Buffer.Matrix(rows.Count, queries.Columns);
        Matrix result = scratch.Buffer.Matrix(rows.Count, output.Columns, (long)rows.Count * queries.Columns);
        for (int i = 0; i < rows.Count; i++)
        {
            queries.Row(rows[i]).CopyTo(gathered.Row(i));
        }

        AttendExactly(input with { Queries = HeadTensor.Interleaved(gathered, 1, 1) }, HeadTensor.Interleaved(result, 1, 1), ref bound);
        for (int i = 0; i < rows.Count; i++)
        {
            result.Row(i).CopyTo(output.Row(rows[i]));
        }
    }

    private void AttendExactly(in AttentionInput input, HeadTensor output, ref double bound)
    {
        _kernels.Attention(input.Queries, input.Keys, input.Values, input.Scale, output);
        double rounding = ExactAttention.RoundingBound(input);
        bound = Math.Max(bound, double.IsNaN(rounding) ? double.PositiveInfinity : rounding);
    }
}
