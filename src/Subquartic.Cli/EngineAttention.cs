using Subquartic.Attention;
using Subquartic.Numerics.Kernels;

namespace Subquartic.Cli;

/// <summary>The attention strategy of a run.</summary>
/// <param name="Strategy">What the model calls.</param>
/// <param name="Summary">Its certificates so far; null for strategies that only compute exactly.</param>
/// <param name="Tolerance">The tolerance asked for.</param>
internal sealed record EngineAttention(IAttention Strategy, CertificateSummary? Summary, double Tolerance) : IDisposable
{
    /// <summary>Name of the strategy.</summary>
    public string Name => Strategy.Name;

    /// <summary>Low-rank attention that keeps account of its certificates.</summary>
    public static EngineAttention LowRank(KernelSet kernels, double tolerance, bool onlyWhenFaster = true) =>
        Observed(new LowRankAttention(kernels, new LowRankOptions { Tolerance = tolerance, OnlyWhenFaster = onlyWhenFaster }), tolerance);

    /// <summary>Certified attention that keeps account of its certificates and computes some rows again in double precision.</summary>
    public static EngineAttention Certified(KernelSet kernels, double tolerance, Lazy<CertifiedCosts> costs)
    {
        var sampled = new SampledAttention(kernels, tolerance, costs);
        return new EngineAttention(sampled, sampled.Summary, tolerance);
    }

    /// <summary>Audited attention that keeps account of its audits.</summary>
    public static EngineAttention Audited(KernelSet kernels, double tolerance, Lazy<CertifiedCosts> costs) =>
        Observed(new AuditedAttention(kernels, tolerance, costs: costs), tolerance);

    private static EngineAttention Observed(IAttention inner, double tolerance)
    {
        var summary = new CertificateSummary();
        var strategy = new ProbedAttention(
            inner, (in AttentionInput input, in Certificate certificate) => summary.Add(certificate, input.Keys.Rows));
        return new EngineAttention(strategy, summary, tolerance) { Owned = inner as IDisposable };
    }

    /// <summary>What stands behind the strategy, disposed with it.</summary>
    private IDisposable? Owned { get; init; }

    /// <summary>What has happened so far, or null.</summary>
    public CertificateDocument? Report() => Summary is null ? null : CertificateDocument.Of(Name, Summary, Tolerance, Strategy as SampledAttention);

    public void Dispose()
    {
        (Strategy as IDisposable)?.Dispose();
        Owned?.Dispose();
    }
}
