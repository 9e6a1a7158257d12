namespace Subquartic.Attention;

/// <summary>The certificates of a run, added up.</summary>
/// <remarks>Not for several threads at once.</remarks>
public sealed class CertificateSummary
{
    private double _work;
    private double _pairs;

    /// <summary>Attention calls.</summary>
    public long Calls { get; private set; }

    /// <summary>Heads of all calls.</summary>
    public long Heads { get; private set; }

    /// <summary>Heads computed exactly as a whole.</summary>
    public long ExactHeads { get; private set; }

    /// <summary>Queries of all heads.</summary>
    public long Rows { get; private set; }

    /// <summary>Queries computed exactly.</summary>
    public long ExactRows { get; private set; }

    /// <summary>Queries computed from moments of all keys at once.</summary>
    public long FlatRows { get; private set; }

    /// <summary>Queries computed from clusters of keys.</summary>
    public long MergedRows { get; private set; }

    /// <summary>Queries computed from all keys in 16-bit integers.</summary>
    public long QuantizedRows { get; private set; }

    /// <summary>Queries computed from clusters of keys without a bound (<see cref="AuditedAttention"/>).</summary>
    public long AuditedRows { get; private set; }

    /// <summary>Multiply-adds over those of exact attention, each call counting by its pairs of a query and a key; NaN when a call came
    /// without.</summary>
    public double Work => _work / _pairs;

    /// <summary>Largest bound, in units of V; NaN when a call came without one.</summary>
    public double LargestBound { get; private set; }

    /// <summary>Why the last head that was computed exactly was.</summary>
    public string? Reason { get; private set; }

    /// <summary>Adds a certificate.</summary>
    /// <param name="certificate">The certificate.</param>
    /// <param name="keys">Keys that its queries saw.</param>
    public void Add(in Certificate certificate, int keys = 1)
    {
        Calls++;
        Heads += certificate.Heads;
        ExactHeads += certificate.ExactHeads;
        Rows += certificate.Rows;
        ExactRows += certificate.ExactRows;
        FlatRows += certificate.FlatRows;
        MergedRows += certificate.MergedRows;
        QuantizedRows += certificate.QuantizedRows;
        AuditedRows += certificate.AuditedRows;
        _pairs += (double)certificate.Rows * keys;
        _work += certificate.Work * certificate.Rows * keys;
        LargestBound = Math.Max(LargestBound, certificate.ErrorBound); // keeps a NaN
        Reason = certificate.ExactHeads > 0 ? certificate.Reason : Reason;
    }
}
