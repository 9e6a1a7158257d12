using System.Numerics.Tensors;
using Subquartic.Attention;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Reports.Analysis;

/// <summary>Compares every result of a strategy with the judge, and the difference with the certificate.</summary>
/// <param name="inner">The strategy that computes.</param>
internal sealed class JudgedAttention(IAttention inner) : IAttention, IDisposable
{
    // The judge rounds once, to float32.
    private const double UnitRoundoff = 1.0 / (1 << 24);

    private readonly ReferenceAttention _judge = new();
    private FloatBuffer _expected = new(0);

    /// <inheritdoc/>
    public string Name => inner.Name;

    /// <summary>The certificates.</summary>
    public CertificateSummary Summary { get; } = new();

    /// <summary>Calls within their bound.</summary>
    public long BoundsHeld { get; private set; }

    /// <summary>Largest bound over the range of V.</summary>
    public double LargestBound { get; private set; }

    /// <summary>Largest error over the range of V.</summary>
    public double LargestError { get; private set; }

    /// <summary>Largest error over its bound, among calls that were not all exact.</summary>
    public double Tightest { get; private set; }

    /// <inheritdoc/>
    public Certificate Attend(in AttentionInput input, HeadTensor output)
    {
        Certificate certificate = inner.Attend(input, output);
        Summary.Add(certificate);
        long length = (long)output.Batch * output.Heads * output.Rows * output.Width;
        if (_expected.Length < length)
        {
            _expected.Dispose();
            _expected = new FloatBuffer(length);
        }

        HeadTensor expected = HeadTensor.Interleaved(
            _expected.Matrix(output.Batch * output.Rows, output.Heads * output.Width), output.Batch, output.Heads);
        _judge.Attend(input, expected);
        double error = 0, rounding = 0, range = 0;
        for (int image = 0; image < output.Batch; image++)
        {
            for (int head = 0; head < output.Heads; head++)
            {
                range = Math.Max(range, ColumnRange(input.Values[image, head]));
                for (int row = 0; row < output.Rows; row++)
                {
                    Span<float> right = expected[image, head].Row(row);
                    error = Math.Max(error, LargestDifference(right, output[image, head].Row(row)));
                    rounding = Math.Max(rounding, UnitRoundoff * Math.Abs(TensorPrimitives.MaxMagnitude<float>(right)));
                }
            }
        }

        BoundsHeld += error <= certificate.ErrorBound + rounding ? 1 : 0;
        if (range > 0)
        {
            LargestBound = Math.Max(LargestBound, certificate.ErrorBound / range);
            LargestError = Math.Max(LargestError, error / range);
            Tightest = certificate.ExactRows < certificate.Rows ? Math.Max(Tightest, error / certificate.ErrorBound) : Tightest;
        }

        return certificate;
    }

    /// <inheritdoc/>
    public void Dispose() => _expected.Dispose();

    private static double LargestDifference(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        double largest = 0;
        for (int i = 0; i < a.Length; i++)
        {
            largest = Math.Max(largest, Math.Abs((double)a[i] - b[i]));
        }

        return largest;
    }

    private static double ColumnRange(Matrix values)
    {
        Span<float> low = stackalloc float[values.Columns], high = stackalloc float[values.Columns];
        values.Row(0).CopyTo(low);
        values.Row(0).CopyTo(high);
        for (int j = 1; j < values.Rows; j++)
        {
            TensorPrimitives.Min(low, values.Row(j), low);
            TensorPrimitives.Max(high, values.Row(j), high);
        }

        TensorPrimitives.Subtract(high, low, high);
        return TensorPrimitives.Max<float>(high);
    }
}
