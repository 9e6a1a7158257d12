using System.Numerics;

namespace Subquartic.Attention.Relative;

/// <summary>Products with Toeplitz matrices, y_i = sum_j w_(i-j) x_j, through fast Fourier transforms of length F, the power of two from
/// 2N - 1 on (the wrap-around of the circular convolution then meets no entry that is read), and correlations. Two real columns
/// travel as the real and imaginary part of one.</summary>
/// <remarks>
/// <para><b>Error.</b> |y' - y| &lt;= <see cref="ErrorFactor"/> |w|_2 |x|_2, x the two columns together. With e = 2^-53, a computed sum of
/// complex numbers is the exact one times at most 1 + e (as a real-linear map), a product at most 1 + sqrt(5) e (Brent, Percival and Zimmermann 2007),
/// and the roots of unity are within 4e. A stage of butterflies is sqrt(2) times a unitary map, hence computed with a relative error of at most
/// s - 1 in the 2-norm, s = (1 + e)(1 + sqrt(5) e)(1 + 4e); n = log2 F stages of both factors and their product p are wrong by at
/// most 2^n |w|_2 |x|_2 (s^(2n) (1 + sqrt(5) e) - 1) in the 1-norm, by Cauchy-Schwarz, and the way back adds, term by term, s^n - 1 and divides by
/// 2^n, exactly: s^(3n) (1 + sqrt(5) e) - 1 in all (as Percival 2003, theorem 5.1).</para>
/// </remarks>
internal sealed class ToeplitzTransform
{
    private readonly Complex[] _roots;
    private readonly Complex[] _work;
    private readonly int _tokens;

    /// <summary>Prepares for N tokens.</summary>
    public ToeplitzTransform(int tokens)
    {
        _tokens = tokens;
        Length = (int)BitOperations.RoundUpToPowerOf2((uint)((2 * tokens) - 1));
        _work = new Complex[Length];
        _roots = new Complex[Math.Max(1, Length / 2)];
        for (int k = 0; k < _roots.Length; k++)
        {
            (double sine, double cosine) = double.SinCosPi(-2.0 * k / Length);
            _roots[k] = new Complex(cosine, sine);
        }

        const double e = 1.0 / (1L << 53);
        double stage = Math.Log(1 + e) + Math.Log(1 + (2.2360680 * e)) + Math.Log(1 + (4 * e));
        ErrorFactor = Math.Exp((3 * Stages * 8.0 * e) + (3 * e)) - 1;
        ErrorFactor = Math.Max(ErrorFactor, ((3 * Stages * stage) + (3 * e)) * 1.01);
    }

    /// <summary>F.</summary>
    public int Length { get; }

    /// <summary>Relative error of a product, in the norms of the remarks.</summary>
    public double ErrorFactor { get; }

    /// <summary>Multiply-adds so far, five a butterfly and four a product.</summary>
    public double MultiplyAdds { get; private set; }

    private int Stages => BitOperations.Log2((uint)Length);

    /// <summary>The transform of w, t = -(N - 1) … N - 1, for <see cref="Multiply"/>.</summary>
    /// <param name="sequence">2N - 1 numbers.</param>
    /// <param name="transposed">For y_j = sum_i w_(i-j) x_i instead.</param>
    public Complex[] Prepare(ReadOnlySpan<double> sequence, bool transposed = false)
    {
        var transform = new Complex[Length];
        for (int t = 0; t < sequence.Length; t++)
        {
            transform[t] = sequence[transposed ? sequence.Length - 1 - t : t];
        }

        Forward(transform);
        return transform;
    }

    /// <summary>Multiplies two columns.</summary>
    /// <param name="transform">From <see cref="Prepare"/>.</param>
    /// <param name="x1">N numbers.</param>
    /// <param name="x2">N numbers, or none.</param>
    /// <param name="y1">N numbers, output.</param>
    /// <param name="y2">N numbers, output, or none.</param>
    public void Multiply(Complex[] transform, ReadOnlySpan<double> x1, ReadOnlySpan<double> x2, Span<double> y1, Span<double> y2)
    {
        Array.Clear(_work);
        for (int j = 0; j < _tokens; j++)
        {
            _work[j] = new Complex(x1[j], x2.IsEmpty ? 0 : x2[j]);
        }

        Forward(_work);
        Times(transform);
        for (int i = 0; i < _tokens; i++)
        {
            Complex value = _work[i + _tokens - 1];
            y1[i] = value.Real / Length;
            if (!y2.IsEmpty)
            {
                y2[i] = value.Imaginary / Length;
            }
        }
    }

    /// <summary>sums[t] += sum over i - j = t of x_i y_j, t = -(N - 1) … N - 1.</summary>
    public void Correlate(ReadOnlySpan<double> x, ReadOnlySpan<double> y, Span<double> sums)
    {
        var other = new Complex[Length];
        Array.Clear(_work);
        for (int j = 0; j < _tokens; j++)
        {
            (_work[j], other[_tokens - 1 - j]) = (x[j], y[j]);
        }

        Forward(_work);
        Forward(other);
        Times(other);
        for (int t = 0; t < sums.Length; t++)
        {
            sums[t] += _work[t].Real / Length;
        }
    }

    private void Times(Complex[] transform)
    {
        for (int k = 0; k < Length; k++)
        {
            _work[k] *= transform[k];
        }

        MultiplyAdds += 4.0 * Length;
        Backward(_work);
    }

    /// <summary>Decimation in frequency: natural order in, bit-reversed order out.</summary>
    private void Forward(Complex[] x)
    {
        for (int half = Length / 2, step = 1; half > 0; half /= 2, step *= 2)
        {
            for (int start = 0; start < Length; start += 2 * half)
            {
                for (int k = 0; k < half; k++)
                {
                    Complex a = x[start + k], b = x[start + half + k];
                    (x[start + k], x[start + half + k]) = (a + b, (a - b) * _roots[k * step]);
                }
            }
        }

        MultiplyAdds += 2.5 * Length * Stages;
    }

    /// <summary>Decimation in time: bit-reversed order in, natural order out, F times too large.</summary>
    private void Backward(Complex[] x)
    {
        for (int half = 1, step = Length / 2; half < Length; half *= 2, step /= 2)
        {
            for (int start = 0; start < Length; start += 2 * half)
            {
                for (int k = 0; k < half; k++)
                {
                    Complex a = x[start + k], b = x[start + half + k] * Complex.Conjugate(_roots[k * step]);
                    (x[start + k], x[start + half + k]) = (a + b, a - b);
                }
            }
        }

        MultiplyAdds += 2.5 * Length * Stages;
    }
}
