using System.Collections.Concurrent;
using System.Numerics.Tensors;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Attention;

/// <summary>Attention of a head whose scores hardly differ from the mean query's: a first-order expansion about it, with the exact
/// second moments as certificate. Cost (L + S) c (c + c_v) instead of L S (c + c_v).</summary>
/// <remarks>
/// <para><b>Identity.</b> Let q0 be any vector, u = q - q0, pi_k = w_k / sum w with w_k = exp(q0.k), c = sum pi k, A = sum pi v, y = k - c,
/// x = u.y, so that E_pi x = 0. With m = E_pi e^x and J = sum pi y v^T,
/// o(q) = A + ( J^T u + E_pi[(e^x - 1 - x)(v - A)] ) / m.</para>
/// <para><b>Theorem.</b> Let |x| &lt;= b for all keys, sig2 = E_pi x^2 in [s-, s+], lo = psi(-b) s-/2, hi = psi(b) s+/2, and let mh be any number in
/// [1 + lo, 1 + hi]. Then o~ = A + J^T u / mh obeys
/// |o - o~|_inf &lt;= |J^T u|_inf max(1/(1 + lo) - 1/mh, 1/mh - 1/(1 + hi)) + hi/(1 + hi) max_k |v_k - A|_inf.</para>
/// <para><b>Proof.</b> psi(-b) x^2/2 &lt;= e^x - 1 - x &lt;= psi(b) x^2/2 (<see cref="ExpRemainder"/>) and E x = 0 give 1 + lo &lt;= m &lt;= 1 + hi. The
/// remainder is at most E(e^x - 1 - x) max|v - A| = (m - 1) max|v - A|, and (m - 1)/m grows with m.</para>
/// <para><b>sig2.</b> First s+ = lambda |u|^2, s- = 0, with lambda = tr(Sigma) |(Sigma / tr Sigma)^8|_F^(1/8) at least the largest eigenvalue of
/// Sigma = E_pi y y^T; rows that need it then take u^T Sigma u.</para>
/// <para><b>Rounding</b> (gamma_n = n 2^-24 / (1 - n 2^-24)). Stored are k' near k - kbar, q0, and u near scale q - q0, each value rounded at most
/// twice: a score moves by at most d1 = 5 2^-24 (|scale q| + |u|) max|k'| against the true one less a constant of the row. The weights are
/// within e^(+-d2) of exp(q0.k'), d2 = (gamma_(c+2) + 4 2^-24) |q0| max|k'| + 4 2^-24. Weights within e^(+-d) of the true ones change an average of
/// values by at most range(V) tanh(d/2): two distributions whose ratio stays in an interval of log-length t differ by at most tanh(t/4)
/// in total variation. Keys with q0.k' more than 80 below the largest keep that distance instead: their mass, true and stored, is at
/// most S e^(-80 + 2b) of the whole, and they change the result by at most range(V) times that. Moments are sums of 512 products in
/// float32 and of those sums in double: A is off by gamma_520 max|V|, J^T u by (2 gamma_520 + gamma_(c+4)) |u| max|k'| max|V|, u^T Sigma u by the
/// same with max|k'| |u| in place of max|V|. Values below the normal numbers add (S + 4) 2^-149.</para>
/// </remarks>
internal sealed class FlatPath(KernelSet kernels) : IDisposable
{
    /// <summary>Keys of a task and of a float32 sum; queries of a task.</summary>
    public const int Chunk = 512, QueryBlock = 256;

    /// <summary>Keys of the sample.</summary>
    public const int TestKeys = 256;

    private const int TestQueries = 32;

    private const double U = ExactAttention.UnitRoundoff;

    // Beyond, weights of keys may leave the normal numbers.
    private const double WidestX = 20;

    private readonly ConcurrentBag<FlatWorkspace> _workspaces = [];
    private float[] _scores = [];
    private float[] _chunkMaxima = [];
    private float[] _chunkSquares = [];
    private double[] _chunkWeights = [];
    private float[] _moments = [];
    private double[] _sums = [];
    private float[] _mean = [];
    private FloatBuffer _covariances = new(0);
    private PackedMatrix? _packedJ;
    private HeadMeasure _head = null!;
    private RowOutcomes _outcomes = null!;
    private Tolerance _tolerance;
    private float _largest;
    private double _keyRadius;
    private double _centreRadius;
    private double _deviation;
    private double _lambda;
    private double _pilotRounding;
    private double _pilotLength;

    private int Width => _head.Keys.Columns;

    private int ValueWidth => _head.Values.Columns;

    private int KeyStride => RowVectors.Padded(Width);

    private int Chunks => (_head.Keys.Rows + Chunk - 1) / Chunk;

    /// <summary>Multiply-adds spent on the head, trials included.</summary>
    public double Work { get; private set; }

    /// <summary>Estimates from a sample whether nearly all rows would be certified.</summary>
    public bool Promises(HeadMeasure head, double allowed)
    {
        _head = head;
        int queries = Math.Min(TestQueries, head.Queries.Rows), keys = Math.Min(TestKeys, head.Keys.Rows);
        Work = (double)(queries + 1) * keys * Width;
        int stride = KeyStride;
        using FlatWorkspace work = Rent();
        Span<float> u = work.Rows.Span()[..stride];
        Span<float> sample = work.Keys.Span()[..(keys * stride)];
        Span<float> weights = stackalloc float[TestKeys];
        float most = float.NegativeInfinity;
        for (int t = 0; t < keys; t++)
        {
            Span<float> key = sample.Slice(t * stride, stride);
            RowVectors.Shift(head.Keys.Row((int)((long)t * head.Keys.Rows / keys)), 1, head.KeyMean, key);
            weights[t] = TensorPrimitives.Dot(key, head.QueryMean);
            most = Math.Max(most, weights[t]);
        }

        double total = 0;
        for (int t = 0; t < keys; t++)
        {
            weights[t] = MathF.Exp(weights[t] - most);
            total += weights[t];
        }

        int good = 0;
        for (int i = 0; i < queries; i++)
        {
            RowVectors.Shift(head.Queries.Row((int)((long)i * head.Queries.Rows / queries)), head.Scale, head.QueryMean, u);
            double first = 0, second = 0;
            for (int t = 0; t < keys; t++)
            {
                double x = TensorPrimitives.Dot(sample.Slice(t * stride, stride), u);
                first += weights[t] * x;
                second += weights[t] * x * x;
            }

            double variance = (second / total) - (first / total * (first / total));
            good += variance / 2 * head.Range / 2 <= allowed ? 1 : 0;
        }

        return good * 10 >= queries * 9;
    }

    /// <summary>Computes the rows it can certify.</summary>
    public void Run(HeadMeasure head, Tolerance tolerance, RowOutcomes outcomes)
    {
        (_head, _outcomes, _tolerance) = (head, outcomes, tolerance);
        int rows = Width + 1, columns = Width + ValueWidth;
        HeadMeasure.Resize(ref _scores, Chunks * Chunk);
        HeadMeasure.Resize(ref _chunkMaxima, Chunks);
        HeadMeasure.Resize(ref _chunkSquares, Chunks);
        HeadMeasure.Resize(ref _chunkWeights, Chunks);
        HeadMeasure.Resize(ref _moments, Chunks * rows * columns);
        HeadMeasure.Resize(ref _sums, rows * columns);
        HeadMeasure.Resize(ref _mean, ValueWidth);
        long covariances = ((long)Width * ValueWidth) + (2L * Width * Width);
        if (_covariances.Length < covariances)
        {
            _covariances.Dispose();
            _covariances = new FloatBuffer(covariances);
        }

        Work += (double)(head.Keys.Rows + (head.Queries.Rows / 2)) * Width * columns;
        Run(Pass.Scores, Chunks);
        float squares = 0;
        _largest = float.NegativeInfinity;
        for (int chunk = 0; chunk < Chunks; chunk++)
        {
            _largest = Math.Max(_largest, _chunkMaxima[chunk]);
            squares = Math.Max(squares, _chunkSquares[chunk]);
        }

        _keyRadius = Math.Sqrt(squares * (1 + ExactAttention.Gamma(Width + 2))) + 1e-22;
        _pilotLength = Math.Sqrt(TensorPrimitives.SumOfSquares(head.QueryMean)) * (1 + 1e-5);
        _pilotRounding = ((ExactAttention.Gamma(Width + 2) + (4 * U)) * _pilotLength * _keyRadius) + (4 * U);
        Run(Pass.Moments, Chunks);
        Run(Pass.Join, rows);
        if (!Centre())
        {
            return; // every weight of a key away from the largest vanished, or a sum left the range
        }

        _packedJ = kernels.Pack(J, transposed: true, _packedJ is { } pack && pack.N == ValueWidth && pack.K == Width ? pack : Dispose(_packedJ));
        Run(Pass.Answers, (head.Queries.Rows + QueryBlock - 1) / QueryBlock);
    }

    public void Dispose()
    {
        _covariances.Dispose();
        _packedJ?.Dispose();
        while (_workspaces.TryTake(out FlatWorkspace? work))
        {
            work.Free();
        }
    }

    private Matrix J => _covariances.Matrix(Width, ValueWidth);

    private Matrix Sigma => _covariances.Matrix(Width, Width, (long)Width * ValueWidth);

    private Matrix Powers => _covariances.Matrix(Width, Width, (long)Width * (ValueWidth + Width));

    private static PackedMatrix? Dispose(PackedMatrix? pack)
    {
        pack?.Dispose();
        return null;
    }

    private void Scores(int chunk)
    {
        int start = chunk * Chunk, count = Math.Min(Chunk, _head.Keys.Rows - start);
        using FlatWorkspace work = Rent();
        Span<float> key = work.Rows.Span()[..KeyStride];
        ReadOnlySpan<float> pilot = _head.QueryMean, mean = _head.KeyMean;
        float most = float.NegativeInfinity, squares = 0;
        for (int t = start; t < start + count; t++)
        {
            squares = Math.Max(squares, RowVectors.Shift(_head.Keys.Row(t), 1, mean, key));
            float score = TensorPrimitives.Dot(key, pilot);
            _scores[t] = score;
            most = Math.Max(most, score);
        }

        (_chunkMaxima[chunk], _chunkSquares[chunk]) = (most, squares);
    }

    /// <summary>[k' | 1]^T diag(w) [k' | v] of one chunk.</summary>
    private void Moments(int chunk)
    {
        int start = chunk * Chunk, count = Math.Min(Chunk, _head.Keys.Rows - start);
        int rows = Width + 1, columns = Width + ValueWidth;
        using FlatWorkspace work = Rent();
        Matrix left = work.Left.Matrix(Chunk, rows), right = work.Right.Matrix(Chunk, columns);
        ReadOnlySpan<float> mean = _head.KeyMean;
        int width = Width;
        Span<float> weights = _scores.AsSpan(start, count);
        for (int t = 0; t < count; t++)
        {
            weights[t] = Math.Max(weights[t] - _largest, -80);
        }

        kernels.Exp(weights, weights);
        double total = 0;
        for (int t = 0; t < Chunk; t++)
        {
            Span<float> l = left.Row(t), r = right.Row(t);
            if (t >= count)
            {
                l.Clear();
                r.Clear();
                continue;
            }

            RowVectors.ShiftAndWeigh(_head.Keys.Row(start + t), mean, weights[t], l, r);
            l[width] = 1;
            TensorPrimitives.Multiply(_head.Values.Row(start + t), weights[t], r[width..]);
            total += weights[t];
        }

        _chunkWeights[chunk] = total;
        work.Packed = kernels.Pack(
            right, transposed: true, work.Packed is { } pack && pack.N == columns && pack.K == Chunk ? pack : Dispose(work.Packed));
        Matrix product = work.Product.Matrix(rows, columns);
        kernels.Gemm(left, work.Packed, product, new GemmOptions { TransposeA = true });
        product.Span().CopyTo(_moments.AsSpan(chunk * rows * columns));
    }

    private void Join(int row)
    {
        int columns = Width + ValueWidth;
        Span<double> sums = _sums.AsSpan(row * columns, columns);
        sums.Clear();
        for (int chunk = 0; chunk < Chunks; chunk++)
        {
            ReadOnlySpan<float> part = _moments.AsSpan((chunk * (Width + 1) * columns) + (row * columns), columns);
            for (int c = 0; c < columns; c++)
            {
                sums[c] += part[c];
            }
        }
    }

    /// <summary>A, J, Sigma and the bound on the largest eigenvalue of Sigma.</summary>
    private bool Centre()
    {
        double weight = 0;
        for (int chunk = 0; chunk < Chunks; chunk++)
        {
            weight += _chunkWeights[chunk];
        }

        int columns = Width + ValueWidth;
        ReadOnlySpan<double> firsts = _sums.AsSpan(Width * columns, columns);
        double inverse = 1 / weight;
        _deviation = 0;
        for (int c = 0; c < ValueWidth; c++)
        {
            double mean = firsts[Width + c] * inverse;
            _mean[c] = (float)mean;
            _deviation = Math.Max(_deviation, Math.Max(_head.ColumnMost[c] - mean, mean - _head.ColumnLeast[c]));
        }

        double trace = 0, square = 0;
        for (int i = 0; i < Width; i++)
        {
            double c = firsts[i] * inverse;
            square += c * c;
            ReadOnlySpan<double> sums = _sums.AsSpan(i * columns, columns);
            Span<float> sigma = Sigma.Row(i), j = J.Row(i);
            for (int l = 0; l <= i; l++)
            {
                sigma[l] = (float)((sums[l] * inverse) - (c * firsts[l] * inverse));
                Sigma.Row(l)[i] = sigma[l];
            }

            for (int l = 0; l < ValueWidth; l++)
            {
                j[l] = (float)((sums[Width + l] * inverse) - (c * firsts[Width + l] * inverse));
            }

            trace += Math.Max(0, sigma[i]);
        }

        _centreRadius = _keyRadius + Math.Min(_keyRadius, (Math.Sqrt(square) * (1 + 1e-6)) + (ExactAttention.Gamma(Chunk + 8) * _keyRadius));
        _lambda = LargestEigenvalue(trace);
        return double.IsFinite(_lambda) && double.IsFinite(_deviation);
    }

    /// <summary>tr(Sigma) |(Sigma / tr Sigma)^8|_F^(1/8) by three squarings, at least the largest eigenvalue.</summary>
    /// <remarks>A product of float32 matrices of size c is off by gamma_(c+2) |P|_F^2 at most, and |P^2|_F >= |P|_F^2 / sqrt(c): each
    /// squaring adds a relative error gamma_(c+2) sqrt(c) and doubles what was there.</remarks>
    private double LargestEigenvalue(double trace)
    {
        if (trace <= 1e-30)
        {
            return trace;
        }

        TensorPrimitives.Multiply(Sigma.Span(), (float)(1 / trace), Powers.Span());
        for (int step = 0; step < 3; step++)
        {
            using PackedMatrix packed = kernels.Pack(Powers, transposed: true);
            using Scratch scratch = Scratch.Rent((long)Width * Width);
            Matrix square = scratch.Buffer.Matrix(Width, Width);
            kernels.Gemm(Powers, packed, square);
            square.Span().CopyTo(Powers.Span());
        }

        double norm = Math.Sqrt(TensorPrimitives.SumOfSquares<float>(Powers.Span()));
        return trace * Math.Pow(norm * (1 + (8 * (ExactAttention.Gamma(Width + 4) + (4 * U)) * Math.Sqrt(Width)) + (8 * U * Width)), 1.0 / 8) * (1 + 1e-6);
    }

    private void Answers(int block)
    {
        int start = block * QueryBlock, count = Math.Min(QueryBlock, _head.Queries.Rows - start), stride = KeyStride;
        using FlatWorkspace work = Rent();
        Matrix u = new(work.Queries, 0, count, Width, stride);
        Matrix product = work.Answers.Matrix(count, ValueWidth);
        Span<float> all = work.Queries.Span();
        Span<float> squares = stackalloc float[QueryBlock];
        for (int t = 0; t < count; t++)
        {
            squares[t] = RowVectors.Shift(_head.Queries.Row(start + t), _head.Scale, _head.QueryMean, all.Slice(t * stride, stride));
        }

        kernels.Gemm(u, _packedJ!, product);
        ReadOnlySpan<float> mean = _mean.AsSpan(0, ValueWidth);
        double longest = LengthOf(TensorPrimitives.Max<float>(squares[..count])), steepest = RowVectors.LargestMagnitude(product.Span());
        bool within = TryBound(0, _lambda * longest * longest, longest, steepest, 0, out float factor, out double bound);
        bool together = within && _tolerance.Kind != ToleranceKind.Row;
        for (int t = 0; t < count; t++)
        {
            ReadOnlySpan<float> first = product.Row(t);
            if (!together && !TryRow(squares[t], u.Row(t), first, mean, out factor, out bound))
            {
                continue;
            }

            TensorPrimitives.MultiplyAdd(first, factor, mean, _outcomes.Output.Row(start + t));
            _outcomes.SetFlat(start + t, bound);
        }
    }

    private double LengthOf(float square) => Math.Sqrt(square * (1 + ExactAttention.Gamma(Width + 2))) + 1e-22;

    /// <summary>The bound of one row, first with the largest eigenvalue, then with its own second moment.</summary>
    private bool TryRow(float square, ReadOnlySpan<float> u, ReadOnlySpan<float> first, ReadOnlySpan<float> mean, out float factor, out double bound)
    {
        double length = LengthOf(square), slope = RowVectors.LargestMagnitude(first);

        double largest = 0;
        if (_tolerance.Kind == ToleranceKind.Row)
        {
            for (int c = 0; c < first.Length; c++)
            {
                largest = Math.Max(largest, Math.Abs((double)mean[c] + first[c]));
            }
        }

        return TryBound(0, _lambda * length * length, length, slope, largest, out factor, out bound)
            || TryBound(Quadratic(u, Sigma), Quadratic(u, Sigma), length, slope, largest, out factor, out bound);
    }

    /// <summary>Relative error of J^T u in units of max|V|, and of u^T Sigma u in units of |u| max|k'|.</summary>
    private double MomentError(double length) =>
        ((2 * ExactAttention.Gamma(Chunk + 8)) + (2 * ExactAttention.Gamma(Width + 4))) * length * _keyRadius;

    /// <summary>The bound of the remarks for u up to a length, J^T u up to a slope, and sig2 between two computed values.</summary>
    /// <param name="least">At most sig2, rounding aside.</param>
    /// <param name="most">At least sig2, rounding aside.</param>
    /// <param name="length">At least |u|.</param>
    /// <param name="slope">At least |J^T u|_inf as computed.</param>
    /// <param name="largest">|A + J^T u|_inf where the tolerance is relative to the row.</param>
    /// <param name="factor">1/mh.</param>
    /// <param name="bound">The bound, in units of V.</param>
    /// <returns>Whether it is small enough.</returns>
    private bool TryBound(double least, double most, double length, double slope, double largest, out float factor, out double bound)
    {
        (factor, bound) = (0, double.PositiveInfinity);
        double b = length * _centreRadius;
        if (!(b <= WidestX))
        {
            return false;
        }

        double error = MomentError(length) * length * _keyRadius;
        double low = ExpRemainder.PsiBelow(b) * Math.Max(0, least - error) / 2, high = ExpRemainder.Psi(b) * (Math.Max(0, most) + error) / 2;
        double middle = 2 / ((1 / (1 + low)) + (1 / (1 + high)));
        double truncation = (slope * Math.Max((1 / (1 + low)) - (1 / middle), (1 / middle) - (1 / (1 + high)))) + (high / (1 + high) * _deviation);
        double shift = (5 * U * (_head.LongestQuery + length) * _keyRadius) + _pilotRounding;
        double lost = _head.Keys.Rows * Math.Exp(-80 + (2 * b));
        bound = (truncation * (1 + 1e-6)) + (_head.Range * (Math.Tanh(shift / 2) + lost))
            + ((MomentError(length) + ExactAttention.Gamma(Chunk + 12)) * _head.LargestValue) + (4 * U * slope)
            + ((_head.Keys.Rows + 4) * (double)float.Epsilon);
        factor = (float)(1 / middle);

        // The row is A + factor J^T u: no smaller than A + J^T u less the part of the slope that is left out.
        return bound <= _tolerance.Allowed(_head.Range, (largest * (1 - 1e-6)) - ((1 - factor) * slope));
    }

    private static double Quadratic(ReadOnlySpan<float> u, Matrix sigma)
    {
        double sum = 0;
        for (int i = 0; i < u.Length; i++)
        {
            sum += u[i] * (double)TensorPrimitives.Dot(sigma.Row(i), u);
        }

        return sum;
    }

    private FlatWorkspace Rent()
    {
        FlatWorkspace work = _workspaces.TryTake(out FlatWorkspace? found) ? found : new FlatWorkspace(_workspaces);
        work.Prepare(Width, ValueWidth);
        return work;
    }

    private void Run(Pass pass, int tasks)
    {
        var body = new Body(this, pass);
        kernels.Pool.Run(tasks, ref body);
    }

    private enum Pass
    {
        Scores,
        Moments,
        Join,
        Answers,
    }

    private readonly struct Body(FlatPath path, Pass pass) : IParallelBody
    {
        public void Invoke(int task)
        {
            switch (pass)
            {
                case Pass.Scores: path.Scores(task); break;
                case Pass.Moments: path.Moments(task); break;
                case Pass.Join: path.Join(task); break;
                default: path.Answers(task); break;
            }
        }
    }
}
