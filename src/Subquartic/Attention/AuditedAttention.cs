using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention;

/// <summary>How <see cref="AuditedAttention"/> audits.</summary>
public sealed record AuditOptions
{
    /// <summary>Rows of each head that an audit computes exactly.</summary>
    public int Rows { get; init; } = 256;

    /// <summary>Confidence of the statement about a head, above 0 and below 1.</summary>
    public double Confidence { get; init; } = 0.99;

    /// <summary>Audits that a head may try, each with a finer list and fresh rows.</summary>
    public int Attempts { get; init; } = 2;

    /// <summary>Seed of the rows drawn. The statement is about a seed chosen without looking at the data.</summary>
    public ulong Seed { get; init; } = 1;

    /// <summary>Share of the rows of a head that may be beyond the tolerance: ln(attempts/(1 - confidence)) / rows.</summary>
    public double ShareBeyond => Math.Log(Attempts / (1 - Confidence)) / Rows;
}

/// <summary>Attention from merged keys without a bound: some rows of each head, drawn at random, are computed exactly, and the head is kept when all of them are
/// within the tolerance. <b>Nothing about a single row is proved</b>; where that is needed there is <see cref="CertifiedAttention"/>.</summary>
/// <remarks>
/// <para><b>Statement.</b> With the confidence asked for, at most a share p = ln(t/delta)/n of the rows of a head is beyond the tolerance, for n rows
/// audited, t attempts and confidence 1 - delta. <b>Proof.</b> Were more than a share p beyond it, n rows drawn uniformly and independently of the data would miss all of
/// them with probability (1 - p)^n &lt; e^(-pn) = delta/t; there are at most t audits.</para>
/// <para>How far beyond the tolerance those rows are is not bounded. The statement is about each head by itself, not about all of a run together. Flat heads and rows in integers are those of certified attention, with its bounds.</para>
/// <para>Bits depend neither on threads nor on other heads and images: the same rows are drawn for every head of a size.</para>
/// </remarks>
public sealed class AuditedAttention : IAttention, IDisposable
{
    private readonly CertifiedAttention _inner;

    /// <summary>Creates the strategy.</summary>
    /// <param name="kernels">The kernels that compute.</param>
    /// <param name="tolerance">Largest error wanted of any output entry; a number alone is a fraction of the range of V.</param>
    /// <param name="options">How it is audited; null for the defaults.</param>
    /// <param name="costs">What merging costs, as for <see cref="CertifiedAttention"/>.</param>
    /// <exception cref="ArgumentOutOfRangeException">The tolerance is not positive, no rows or attempts are asked for, or the confidence is not above 0 and below 1.</exception>
    public AuditedAttention(KernelSet kernels, Tolerance tolerance, AuditOptions? options = null, Lazy<CertifiedCosts>? costs = null)
        : this(kernels, tolerance, options ?? new AuditOptions(), CertifiedPlan.With(costs))
    {
    }

    /// <summary>Creates the strategy with a plan of its own.</summary>
    internal AuditedAttention(KernelSet kernels, Tolerance tolerance, AuditOptions options, CertifiedPlan plan)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Rows, 1, nameof(options));
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Attempts, 1, nameof(options));
        if (!(options.Confidence is > 0 and < 1))
        {
            throw new ArgumentOutOfRangeException(nameof(options), options.Confidence, "the confidence must be above 0 and below 1");
        }

        Options = options;
        _inner = new CertifiedAttention(kernels, tolerance, plan, options);
    }

    /// <inheritdoc/>
    public string Name => "audited";

    /// <summary>Largest error wanted of any output entry.</summary>
    public Tolerance Tolerance => _inner.Tolerance;

    /// <summary>How it is audited.</summary>
    public AuditOptions Options { get; }

    /// <inheritdoc/>
    /// <remarks>One call at a time. The bound is infinite when any row was audited instead of proved; <see cref="Certificate.AuditedRows"/> says how
    /// many, <see cref="AuditOptions.ShareBeyond"/> what share of them may be beyond the tolerance.</remarks>
    public Certificate Attend(in AttentionInput input, HeadTensor output) => _inner.Attend(input, output);

    /// <summary>Frees the working memory.</summary>
    public void Dispose() => _inner.Dispose();
}
