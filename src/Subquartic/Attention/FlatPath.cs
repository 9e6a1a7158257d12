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
/// <para><b>Theorem.</b> Let |x| &lt;= b for all keys, sig2 = E_pi x^2 at most s, hi = psi(b) s/2, and mh > 0. Then o~ = A + J^T u / mh obeys
/// |o - o~|_inf &lt;= |J^T u|_inf max(|1 - 1/mh|, |1/mh - 1/(1 + hi)|) + hi/(1 + hi) max_k |v_k - A|_inf.</para>
/// <para><b>Proof.</b> 0 &lt;= e^x - 1 - x &lt;= psi(b) x^2/2 (<see cref="ExpRemainder"/>) and E x = 0 give 1 &lt;= m &lt;= 1 + hi, and |1/m - 1/mh| is largest at an
/// end. The remainder is at most E(e^x - 1 - x) max|v - A| = (m - 1) max|v - A|, and (m - 1)/m grows with m. One mh serves all queries, and
/// |J^T u|_inf is at most |u| times the longest column of J.</para>
/// <para><b>sig2.</b> First s = p lambda |u|^2, with Sigma = E_pi y y^T cut into p blocks along its diagonal and lambda at least the largest eigenvalue of
/// any of them, tr(B) |(B / tr B)^8|_F^(1/8) for a block B: the square of a sum of p terms is at most p times the sum of their squares. Rows that need
/// it then take p sum_b u_b^T Sigma_bb u_b. With p = 1 that is sig2 itself; with more, only 16 columns of Sigma are summed for each of its rows. A sample tells
/// whether that will do.</para>
/// <para><b>q0 and the shift of the keys</b> are the mean query and the mean key; where both are small against the longest query and key they are zero instead, so that all
/// weights are 1 and nothing is copied: the sums are over the keys and values themselves (<see cref="_plain"/>). Then, if one bound will do for the longest query, all rows are one product.</para>
/// <para><b>Rounding</b> (gamma_n = n 2^-24 / (1 - n 2^-24)). Stored are k' near k - kbar (kbar the shift), q0, and u near scale q - q0, each value rounded at most
/// twice: a score moves by at most d1 = 5 2^-24 (|scale q| + |u|) max|k'| against the true one less a constant of the row. The weights are
/// within e^(+-d2) of exp(q0.k'), d2 = (gamma_(c+2) + 4 2^-24) |q0| max|k'| + 4 2^-24. Weights within e^(+-d) of the true ones change an average of
/// values by at most range(V) tanh(d/2): two distributions whose ratio stays in an interval of log-length t differ by at most tanh(t/4)
/// in total variation. Keys with q0.k' more than 80 below the largest keep that distance instead: their mass, true and stored, is at
/// most S e^(-80 + 2b) of the whole, and they change the result by at most range(V) times that; where |q0| |k'| is at most 10 for all keys nothing is divided out.
/// Moments are sums of 64 products in float32, of 8 such sums, and of those in double: with n = 80 (<see cref="Terms"/>), A is off by gamma_n max|V|, J^T u by
/// (2 gamma_n + gamma_(c+4)) |u| max|k'| max|V|, u^T Sigma u by the same with max|k'| |u| in place of max|V|. Values below the normal numbers add (S + 4) 2^-149, entries of J, and of J times
/// the scale, 2 c 2^-149 (|u| + |q|).</para>
/// </remarks>
internal sealed partial class FlatPath(KernelSet kernels, CertifiedPlan plan) : IDisposable
{
    /// <summary>Keys of a task, and of a first sum in float32; queries of a task.</summary>
    public const int Chunk = 512, Part = 64, QueryBlock = 256;

    /// <summary>Keys of the sample.</summary>
    public const int TestKeys = 128;

    private const int TestQueries = 24;

    private const double U = ExactAttention.UnitRoundoff;

    // Beyond, weights of keys may leave the normal numbers.
    private const double WidestX = 20;

    // Roundings of a sum of weighted products: those of parts, of the parts of a chunk, and of the factors.
    private const int Terms = Part + (Chunk / Part) + 8;

    // Up to it weights exp(q0.k') are taken as they are; beyond, the largest is divided out.
    private const double LargestPilot = 10;

    // Beyond, J times the scale might leave the range of float32.
    private const float LargestScale = 1e6f;

    private const int Lanes = RowVectors.Lanes;

    private readonly ConcurrentBag<FlatWorkspace> _workspaces = [];
    private float[] _chunkMaxima = [];
    private float[] _chunkSquares = [];
    private double[] _chunkWeights = [];
    private FloatBuffer _moments = new(0);
    private double[] _sums = [];
    private double[] _powers = [];
    private float[] _zeros = [];
    private FloatBuffer _covariances = new(0);
    private PackedMatrix? _packedJ;
    private HeadMeasure _head = null!;
    private RowOutcomes _outcomes = null!;
    private Tolerance _tolerance;
    private float _largest;
    private float _factor;
    private double _keyRadius;
    private double _centreRadius;
    private double _deviation;
    private double _lambda;
    private double _steepness;
    private double _pilotRounding;
    private double _pilotLength;
    private double _longestRaw;
    private bool _plain;
    private int _parts;

    private int Width => _head.Keys.Columns;

    private int ValueWidth => _head.Values.Columns;

    private int KeyStride => RowVectors.Padded(Width);

    private int ValueStride => RowVectors.Padded(ValueWidth);

    /// <summary>Columns of Sigma that are summed for each of its rows.</summary>
    private int Columns => KeyStride / _parts;

    /// <summary>Numbers that a chunk sums: J, Sigma, sum w k' and sum w v.</summary>
    private int Moment => (KeyStride * (ValueStride + Columns)) + KeyStride + ValueStride;

    private int Chunks => (_head.Keys.Rows + Chunk - 1) / Chunk;

    /// <summary>Multiply-adds spent on the head, trials included.</summary>
    public double Work { get; private set; }

    /// <summary>Estimates from a sample whether nearly all rows would be certified.</summary>
    public bool Promises(HeadMeasure head, double allowed)
    {
        _head = head;
        int queries = Math.Min(TestQueries, head.Queries.Rows), keys = Math.Min(TestKeys, head.Keys.Rows);
        Work = (double)keys * Width;
        _parts = 1;
        int stride = KeyStride;
        using FlatWorkspace work = Rent();
        Span<float> u = work.Queries.Span()[..stride];
        Span<float> sample = work.Keys.Span()[..(keys * stride)];
        Span<float> weights = stackalloc float[TestKeys], scores = stackalloc float[TestKeys];
        for (int t = 0; t < keys; t++)
        {
            RowVectors.Shift(head.Keys.Row((int)((long)t * head.Keys.Rows / keys)), 1, head.KeyMean, sample.Slice(t * stride, stride));
        }

        RowVectors.Products(sample, head.QueryMean, weights[..keys]);
        float most = TensorPrimitives.Max<float>(weights[..keys]);
        double total = 0;
        for (int t = 0; t < keys; t++)
        {
            weights[t] = MathF.Exp(weights[t] - most);
            total += weights[t];
        }

        // Nine in ten are to be good, so a few bad ones decide.
        int bad = 0;
        double widest = 0;
        for (int i = 0; i < queries; i++)
        {
            Work += (double)keys * Width;
            RowVectors.Shift(head.Queries.Row((int)((long)i * head.Queries.Rows / queries)), head.Scale, head.QueryMean, u);
            RowVectors.Products(sample, u, scores[..keys]);
            double first = 0, second = 0;
            for (int t = 0; t < keys; t++)
            {
                double x = scores[t];
                first += weights[t] * x;
                second += weights[t] * x * x;
            }

            double variance = (second / total) - (first / total * (first / total));
            bad += variance / 2 * head.Range / 2 <= allowed ? 0 : 1;
            if (bad * 10 > queries)
            {
                return false;
            }

            widest = Math.Max(widest, variance);
        }

        // Twice the largest of the sample, since the eigenvalue is a bound for all directions.
        int parts = KeyStride / Lanes;
        _parts = parts * widest * head.Range / 2 <= allowed ? parts : 1;
        return true;
    }

    /// <summary>Computes the rows it can certify; the sample is asked first.</summary>
    public void Run(HeadMeasure head, Tolerance tolerance, RowOutcomes outcomes)
    {
        (_head, _outcomes, _tolerance) = (head, outcomes, tolerance);
        HeadMeasure.Resize(ref _chunkMaxima, Chunks);
        HeadMeasure.Resize(ref _chunkSquares, Chunks);
        HeadMeasure.Resize(ref _chunkWeights, Chunks);
        HeadMeasure.Resize(ref _sums, Moment);
        HeadMeasure.Resize(ref _zeros, KeyStride);
        Grow(ref _moments, (long)Chunks * Moment);
        Grow(ref _covariances, ((long)Width * ValueWidth) + ((long)KeyStride * KeyStride) + ValueStride);
        Work += (double)head.Keys.Rows * Width * (ValueWidth + Columns) + ((double)head.Queries.Rows * Width * ValueWidth);
        _pilotLength = Length(head.QueryMean);
        _largest = 0;
        float scale = Math.Abs(head.Scale);
        _longestRaw = scale > 0 ? head.LongestQuery / scale : 0;
        _plain = scale <= LargestScale && Width % Lanes == 0 && ValueWidth % Lanes == 0
            && _pilotLength <= plan.SmallQueryMean * head.LongestQuery && Length(head.KeyMean) <= plan.SmallKeyMean * head.LongestKey;
        _pilotLength = _plain ? 0 : _pilotLength;
        if (_pilotLength * 2 * head.LongestKey > LargestPilot)
        {
            Run(Pass.Scores, Chunks);
            _largest = TensorPrimitives.Max<float>(_chunkMaxima.AsSpan(0, Chunks));
        }

        Run(Pass.Moments, Chunks);
        _keyRadius = _plain ? head.LongestKey : Math.Sqrt(TensorPrimitives.Max<float>(_chunkSquares.AsSpan(0, Chunks)) * (1 + ExactAttention.Gamma(Width + 2))) + 1e-22;
        _pilotRounding = ((ExactAttention.Gamma(Width + 2) + (4 * U)) * _pilotLength * _keyRadius) + (4 * U);
        Run(Pass.Join, (Moment + JoinLength - 1) / JoinLength);
        if (!Centre())
        {
            return; // every weight of a key away from the largest vanished, or a sum left the range
        }

        double longest = head.LongestQuery;
        if (_plain && TryBound(_lambda * longest * longest, longest, double.NaN, out double bound))
        {
            // u is the query times the scale.
            TensorPrimitives.Multiply(J.Span(), head.Scale, J.Span());
            Run(Pass.Products, (head.Queries.Rows + QueryBlock - 1) / QueryBlock);
            outcomes.SetFlat(bound);
            return;
        }

        _packedJ = kernels.Pack(J, transposed: true, _packedJ is { } pack && pack.N == ValueWidth && pack.K == Width ? pack : Dispose(_packedJ));
        Run(Pass.Answers, (head.Queries.Rows + QueryBlock - 1) / QueryBlock);
    }

    public void Dispose()
    {
        _moments.Dispose();
        _covariances.Dispose();
        _packedJ?.Dispose();
        while (_workspaces.TryTake(out FlatWorkspace? work))
        {
            work.Free();
        }
    }

    /// <summary>q0, padded.</summary>
    private ReadOnlySpan<float> Pilot => _plain ? _zeros.AsSpan(0, KeyStride) : _head.QueryMean;

    /// <summary>J / mh (c, c_v), what the queries are multiplied with.</summary>
    private Matrix J => _covariances.Matrix(Width, ValueWidth);

    /// <summary>Sigma (padded c, padded c), zero outside of its blocks.</summary>
    private Matrix Sigma => _covariances.Matrix(KeyStride, KeyStride, (long)Width * ValueWidth);

    /// <summary>A (1, c_v).</summary>
    private Matrix Mean => _covariances.Matrix(1, ValueWidth, ((long)Width * ValueWidth) + ((long)KeyStride * KeyStride));

    private static double Length(ReadOnlySpan<float> x) => Math.Sqrt(TensorPrimitives.SumOfSquares(x)) * (1 + 1e-5);

    private static PackedMatrix? Dispose(PackedMatrix? pack)
    {
        pack?.Dispose();
        return null;
    }

    private static void Grow(ref FloatBuffer buffer, long length)
    {
        if (buffer.Length < length)
        {
            buffer.Dispose();
            buffer = new FloatBuffer(length);
        }
    }

    private double LengthOf(float square) => Math.Sqrt(square * (1 + ExactAttention.Gamma(Width + 2))) + 1e-22;

    /// <summary>The bound of one row, first with the largest eigenvalue, then with its own second moment.</summary>
    private bool TryRow(float square, ReadOnlySpan<float> u, ReadOnlySpan<float> output, out double bound)
    {
        double length = LengthOf(square), largest = RowVectors.LargestMagnitude(output);
        return TryBound(_lambda * length * length, length, largest, out bound)
            || TryBound(_parts * (double)RowVectors.Quadratic(u, Sigma.Span()), length, largest, out bound);
    }

    /// <summary>Relative error of J^T u in units of max|V|, and of u^T Sigma u in units of |u| max|k'|.</summary>
    private double MomentError(double length) =>
        ((2 * ExactAttention.Gamma(Terms)) + (2 * ExactAttention.Gamma(Width + 4))) * length * _keyRadius;

    /// <summary>The bound of the remarks for u up to a length and sig2 up to a computed value.</summary>
    /// <param name="most">At least sig2, rounding of the moments aside.</param>
    /// <param name="length">At least |u|.</param>
    /// <param name="largest">max|o~| of the row; NaN for many rows together, which a tolerance relative to the row refuses.</param>
    /// <param name="bound">The bound, in units of V.</param>
    /// <returns>Whether it is small enough.</returns>
    private bool TryBound(double most, double length, double largest, out double bound)
    {
        bound = double.PositiveInfinity;
        double b = length * _centreRadius;
        if (!(b <= WidestX))
        {
            return false;
        }

        double error = MomentError(length) * length * _keyRadius * _parts, slope = _steepness * length;
        double high = ExpRemainder.Psi(b) * (Math.Max(0, most) + error) / 2, inverse = 1 / (1 + high);
        double truncation = (slope * Math.Max(Math.Abs(1 - _factor), Math.Abs(_factor - inverse))) + (high * inverse * _deviation);
        double shift = (5 * U * (_head.LongestQuery + length) * _keyRadius) + _pilotRounding;
        double lost = _head.Keys.Rows * Math.Exp(-80 + (2 * b));
        bound = (truncation * (1 + 1e-6)) + (_head.Range * (Math.Tanh(shift / 2) + lost))
            + ((MomentError(length) + ExactAttention.Gamma(Terms)) * _head.LargestValue) + (4 * U * slope)
            + ((_head.Keys.Rows + 4 + (2 * Width * (length + _longestRaw))) * (double)float.Epsilon);
        return bound <= _tolerance.Allowed(_head.Range, largest);
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
        Products,
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
                case Pass.Products: path.Products(task); break;
                default: path.Answers(task); break;
            }
        }
    }
}
