using System.Diagnostics;
using System.Globalization;
using Subquartic.Attention;
using Subquartic.Criteria;
using Subquartic.Generation;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Bench;

/// <summary>Certified attention of one synthetic head against our exact attention: the last scale of n x n tokens, all scales as keys.</summary>
internal sealed class CertifiedScenario : IScenario
{
    private const int Width = 64, JudgedRows = 64, WarmUpCalls = 40;

    // Rows beyond the tolerance are allowed to audited heads; one of these would be far beyond it only by a mistake.
    private const double AuditSlack = 3;

    private static readonly (int Side, TokenField Field, double Tolerance)[] Cases =
    [
        (64, new(TokenFieldKind.Independent, 0, 0.25), 1e-2),
        (32, new(TokenFieldKind.Independent, 0, 0.25), 1e-2),
        (64, new(TokenFieldKind.PowerLaw, 2, 4), 1e-2),
        (64, new(TokenFieldKind.BandLimited, 1, 4), 1e-2),
        (64, new(TokenFieldKind.Network, 2, 8), 3e-2),
        (64, new(TokenFieldKind.Network, 2, 8), 1e-2),
        (64, new(TokenFieldKind.PowerLaw, 2, 4, 0.2), 1e-2),
        (64, new(TokenFieldKind.PowerLaw, 1.5, 4), 1e-2),
        (64, new(TokenFieldKind.PowerLaw, 2, 16), 1e-2),
        (64, new(TokenFieldKind.PowerLaw, 2, 4), 1e-3),
        (64, new(TokenFieldKind.Independent, 0, 16), 1e-2),
        (32, new(TokenFieldKind.Independent, 0, 16), 1e-2),
        (16, new(TokenFieldKind.Independent, 0, 16), 1e-2),
        (128, new(TokenFieldKind.BandLimited, 1, 4), 1e-2),
        (128, new(TokenFieldKind.PowerLaw, 2, 4), 1e-2),
    ];

    public string Name => "certified";

    public string Description =>
        "One head of width 64: n^2 queries, keys of the scales n {1, 2, 3, 4, 5, 6, 8, 10, 13, 16}/16. iid: uniform, no score above s. "
        + "1/f^b: fields with that amplitude spectrum; band 1: one cycle along each axis; network: a random network of three blocks on such a "
        + "field; queries of length s, keys of length 1. The tolerance is a fraction of max |V|. 64 rows are checked against the judge "
        + "within their own bounds. Work is multiply-adds over those of exact attention; bound / error is the median over checked "
        + "rows that were not computed exactly. Audited: 256 rows of each head are computed exactly, and nothing is proved.";

    public void Run(Report report)
    {
        foreach ((int side, TokenField field, double tolerance) in Cases)
        {
            string name = string.Create(CultureInfo.InvariantCulture, $"{field}, n = {side}, {tolerance:0e0}");
            if (report.Wants(name))
            {
                Measure(report, name, side, field, tolerance);
            }
        }
    }

    private static void Measure(Report report, string name, int side, TokenField field, double tolerance)
    {
        ScaleSchedule maps = TokenFieldSampler.Schedule(side);
        int queries = side * side, keys = maps.Tokens;
        using var memory = new FloatBuffer(((3L * queries) + (2L * keys)) * Width);
        Matrix q = memory.Matrix(queries, Width), k = memory.Matrix(keys, Width, (long)queries * Width);
        Matrix v = memory.Matrix(keys, Width, (long)(queries + keys) * Width);
        Matrix exactly = memory.Matrix(queries, Width, (queries + (2L * keys)) * Width);
        Matrix quickly = memory.Matrix(queries, Width, ((2L * queries) + (2L * keys)) * Width);
        TokenFieldSampler.Draw(field, maps, Width, 1, q, k, v);
        float largest = 0;
        foreach (float value in v.Span())
        {
            largest = Math.Max(largest, Math.Abs(value));
        }

        var input = new AttentionInput(One(q), One(k), One(v), 1, maps);
        var exact = new ExactAttention(report.Kernels);
        var allowance = new Tolerance(tolerance * largest, ToleranceKind.Absolute);
        var costs = new Lazy<CertifiedCosts>(() => CertifiedCosts.ForThisMachine(report.Kernels, CertifiedCosts.DefaultPath(report.Kernels), Console.Error.WriteLine));
        using var certified = new CertifiedAttention(report.Kernels, allowance, costs);
        using var audited = new AuditedAttention(report.Kernels, allowance, costs: costs);
        var bounds = new double[queries];
        Certificate certificate = default, audit = default;
        var ratios = new List<double>();
        double allowed = ExactAttention.RoundingBound(input);

        // Methods are compiled again, better, once they have been called often.
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < WarmUpCalls && Stopwatch.GetElapsedTime(start).TotalSeconds < 2; i++)
        {
            certified.Attend(input, One(quickly));
            audited.Attend(input, One(quickly));
        }

        report.Compare(
            name, new Work(4.0 * queries * keys * Width),
            new Contender("exact", _ => exact.Attend(input, One(exactly)), () => Error(input, exactly, (_, error) => error / allowed), IsBaseline: true),
            new Contender(
                "certified", _ => certificate = certified.Attend(input, One(quickly), bounds),
                () => Error(input, quickly, (row, error) =>
                {
                    if (bounds[row] > 1.01 * allowed)
                    {
                        ratios.Add(bounds[row] / Math.Max(error, 1e-12));
                    }

                    return error / bounds[row];
                })),
            new Contender("audited", _ => audit = audited.Attend(input, One(quickly)), () => Error(input, quickly, (_, error) => error / (tolerance * largest) / AuditSlack)));
        report.Note(string.Create(
            CultureInfo.InvariantCulture,
            $"{name}: work {certificate.Work:0.000}; {100.0 * certificate.FlatRows / queries:0.0} % of the rows flat, "
            + $"{100.0 * certificate.MergedRows / queries:0.0} % merged, {100.0 * certificate.QuantizedRows / queries:0.0} % quantized, {100.0 * certificate.ExactRows / queries:0.0} % exact; largest bound "
            + $"{certificate.ErrorBound / largest:0.0e0}{(ratios.Count > 0 ? $"; bound / error {Report.Median(ratios):0}" : "")}. {certificate.Reason}. "
            + $"Audited: work {audit.Work:0.000}, {100.0 * audit.AuditedRows / queries:0.0} % of the rows without a bound."));
    }

    private static HeadTensor One(Matrix matrix) => HeadTensor.Interleaved(matrix, 1, 1);

    /// <summary>Largest of a function of row and error over rows spread evenly.</summary>
    private static double Error(AttentionInput input, Matrix output, Func<int, double, double> measure)
    {
        var judge = new ReferenceAttention();
        using var buffer = new FloatBuffer(output.Columns);
        Matrix expected = buffer.Matrix(1, output.Columns);
        double worst = 0;
        int rows = Math.Min(JudgedRows, output.Rows);
        for (int i = 0; i < rows; i++)
        {
            int row = (int)((long)i * output.Rows / rows);
            judge.Attend(input with { Queries = input.Queries.SliceRows(row, 1) }, One(expected));
            double error = 0;
            for (int c = 0; c < output.Columns; c++)
            {
                double difference = Math.Abs((double)output.Row(row)[c] - expected.Row(0)[c]);
                error = double.IsNaN(difference) ? double.NaN : Math.Max(error, difference);
            }

            worst = Math.Max(worst, measure(row, error));
        }

        return worst;
    }
}
